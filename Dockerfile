# One image for every process: web (the default command), worker, beat, migrations and the reference orchestrator.
FROM python:3.12-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.txt .
RUN pip install --require-hashes -r requirements.txt

FROM python:3.12-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOG_FORMAT=json \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATA_DIR=/data \
    STATIC_ROOT=/app/static_root
# /data is the state, /keys holds the demo orchestrators' keys; both belong to the user, the code to root.
RUN groupadd --gid 10001 moolai \
    && useradd --uid 10001 --gid moolai --no-create-home --shell /usr/sbin/nologin moolai \
    && install -d -o moolai -g moolai -m 0700 /data /keys
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY --chmod=u=rwX,go=rX . .
# Compiled here, because nobody may write beside the code later; the static files too. The data of this step is thrown away.
RUN python -m compileall -q . \
    && ENVIRONMENT=development DATA_DIR=/tmp/build python manage.py collectstatic --noinput --verbosity 0 \
    && chmod -R go=rX static_root \
    && rm -rf /tmp/build
USER moolai
VOLUME ["/data"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "deploy/healthcheck.py", "web"]
# What a process writes is for its own user only.
ENTRYPOINT ["/bin/sh", "-c", "umask 077 && exec \"$@\"", "moolai"]
CMD ["python", "manage.py", "serve"]
