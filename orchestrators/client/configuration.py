"""The desired configuration: applied whole, newest wins, reported with `config_status` (PROTOCOL §1)."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial

from .callbacks import ConfigCallback, invoke
from .frames import Frame, text_of
from .lane import Lane

Send = Callable[[Frame], Awaitable[bool]]


class Configuration:
    """Apply what `provisioning` and `config_update` bring. `hash` and `version` are those of what was applied last."""

    def __init__(
        self,
        *,
        handler: ConfigCallback | None,
        lane: Lane,
        send: Send,
        log: logging.LoggerAdapter[logging.Logger],
        config_hash: str | None = None,
        version: int | None = None,
    ) -> None:
        self._handler, self._lane, self._send, self._log = handler, lane, send, log
        self.hash, self.version = config_hash, version
        self.current: Frame | None = None
        self.applied = 0
        self._newest = version
        self._is_clean = True
        self._source: tuple[object, int] | None = None

    def meet(self, handshake_ack: Frame) -> None:
        """Forget which version is newest when the numbers start anew: another organization, or a restored database."""
        epoch = handshake_ack.get("epoch")
        source = (handshake_ack.get("organization_id"), epoch if isinstance(epoch, int) else 0)
        if self._source is not None and (source[0] != self._source[0] or source[1] < self._source[1]):
            self._log.warning("the controller's history starts anew: any configuration version is accepted again")
            self._newest = None
        self._source = source

    def receive(self, frame: Frame) -> None:
        """Queue a configuration behind what arrived before it."""
        if not self._lane.submit(partial(self._handle, frame)):
            self._log.warning("too much is waiting to be handled; a configuration was left for the next session")

    async def _handle(self, frame: Frame) -> None:
        version, config_hash = frame.get("version"), frame.get("config_hash")
        if not isinstance(version, int):
            version = None
        if version is not None and self._newest is not None and version < self._newest:
            self._log.warning("config v%s ignored: v%s came before", version, self._newest)
            await self._report(config_hash, "failed", f"stale_version: version {self._newest} came before {version}")
            return
        self._newest = version if version is not None else self._newest
        if self._is_clean and config_hash is not None and config_hash == self.hash:
            self.version = version
            await self._report(config_hash, "applied")
            return
        await self._apply(frame, version, config_hash)

    async def _apply(self, frame: Frame, version: int | None, config_hash: str | None) -> None:
        await self._report(config_hash, "applying")
        config = frame.get("config", frame.get("data"))
        try:
            if not isinstance(config, dict):
                raise TypeError("config is not an object")
            if self._handler is not None:
                await invoke(self._handler, config)
        except Exception as error:
            self._is_clean = False
            self._log.warning("config v%s failed: %s", version, text_of(error))
            await self._report(config_hash, "failed", text_of(error))
            return
        self.hash, self.version, self.current, self._is_clean = config_hash, version, config, True
        self.applied += 1
        self._log.info("config v%s applied", version)
        await self._report(config_hash, "applied")

    async def _report(self, config_hash: str | None, status: str, error: str | None = None) -> None:
        frame: Frame = {"type": "config_status", "config_hash": config_hash, "status": status}
        await self._send(frame if error is None else {**frame, "error": error})
