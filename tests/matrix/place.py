"""An organization filled to the brim: a row of every kind, with one word in every text that can be read again."""

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final

from django.utils import timezone

from llm_gateway import aliases, caching, guarding, policies, prices, providers
from llm_gateway.models import GatewayPolicy, WorkflowCall, WorkflowRun, WorkflowStep
from llm_gateway.money import ledger, records
from llm_gateway.prompts import asking, book
from llm_gateway.prompts.outcomes import Outcome
from llm_gateway.watching import contents, refused
from llm_gateway.watching.contents import Heard
from llm_gateway.watching.refused import Key, Tally
from llm_gateway.workflows import making as runs
from llm_gateway.workflows import templates as flows
from llm_gateway.workflows.making import Asked
from monitoring import activities
from monitoring.alerts import channels
from monitoring.exports import making
from monitoring.exports.wish import Wish
from monitoring.metrics import storage
from monitoring.models import (
    NUMBERS,
    Alert,
    Channel,
    Collection,
    Delivery,
    MetricRollup,
    Rule,
    Silence,
    SystemMetric,
)
from orchestrators import bulk, configuration, instances, jobs, work
from orchestrators.models import (
    Approval,
    ConfigVersion,
    Instance,
    Job,
    Message,
    OverrideVersion,
    Review,
    Rollout,
    Route,
    Task,
    TaskStep,
)
from orchestrators.work import agents, board, event_rules
from orgs import audit, events, keys, networks, organizations, spending, tokens
from orgs.models import ApiKey, Membership, Organization, User

PASSWORD: Final = "correct horse battery staple"


@dataclass(frozen=True)
class Place:
    """What paths and bodies may name: an organization, and the ids of rows in it."""

    organization: str
    orchestrator: str  # connected; the bound key's own
    neighbour: str
    idle: str
    key: str
    user: str
    username: str
    message: str
    settled: str
    refresh_token: str
    rollout: str
    job: str
    recommendation: str
    alert: str
    rule: str
    silence: str
    channel: str
    provider: str
    alias: str
    common_provider: str
    common_alias: str
    price: str
    price_for_all: str
    call: str
    network: str
    export: str
    task: str  # held by the first orchestrator
    approval: str  # not decided yet
    agent: str
    prompt: str
    template: str
    workflow: str  # its first orchestrator asked for it
    batch: str

    def fill(self, template: Any, **more: str) -> Any:
        """Return a path or a body with the names filled in."""
        if isinstance(template, str):
            return template.format_map({**asdict(self), **more})
        if isinstance(template, dict):
            return {name: self.fill(value, **more) for name, value in template.items()}
        return [self.fill(value, **more) for value in template] if isinstance(template, list) else template


NOWHERE: Final = Place(
    organization="nowhere", orchestrator="nowhere-1", neighbour="nowhere-2", idle="nowhere-3",
    key="key_0000000000000000", user="999999999", username="noone", message="999999999", settled="999999998",
    refresh_token="mr_wrong", rollout="999999999", job="job_0000000000000000", recommendation="999999997",
    alert="alr_0", rule="999999996", silence="sil_0",
    channel="chn_0000000000000000", provider="prv_0000000000000000", alias="als_0000000000000000",
    common_provider="prv_0000000000000001", common_alias="als_0000000000000001",
    price="prc_0000000000000000", price_for_all="prc_0000000000000001", call="call_nobody",
    network="999999995", export="job_0000000000000001",
    task="tsk_0", approval="apr_0", agent="nobody", prompt="prm_0",
    template="wft_0000000000000000", workflow="wf_0", batch="wfb_0",
)  # fmt: skip


def make(organization_id: str, *, word: str) -> Place:
    """Make an organization with rows of every kind, `word` in each text column."""
    organization = organizations.create(
        organization_id,
        name=f"{word} Corporation",
        acting_user=None,
        settings={"config": {"features": {word: word}}, word: word},
        admin_email=f"admin@{word}.example",
        support_email=f"support@{word}.example",
        website=f"https://{word}.example/",
    )
    ids = [f"{organization_id}-{number}" for number in (1, 2, 3)]
    for orchestrator_id in ids:
        _orchestrator(orchestrator_id, organization, word=word)
    _override(ids[0], word=word)
    Instance.objects.filter(orchestrator_id=ids[0]).update(**_session(word))
    row, _ = keys.create(organization, name=f"{word} key", acting_user=None, role="viewer")
    user = _user(organization, word=word)
    open_one, settled = (_message(ids[0], word=word, status=status) for status in ("pending", "failed"))
    _traces(organization, ids[0], word=word)
    return Place(
        organization_id, ids[0], ids[1], ids[2], row.key_id, str(user.pk), user.get_username(),
        str(open_one.pk), str(settled.pk), tokens.sign_in(user, now=timezone.now()).refresh_token,
        str(_rollout(organization, word=word).pk),
        _job(organization, word=word), str(_recommendation(ids[0], word=word).pk),
        *_alerts(organization, ids[0], word=word),
        _channel(organization, word=word),
        *_gateway(organization, word=word), *_gateway(None, word=f"everybodys-{len(word)}"),
        *_money(organization, row, word=word),
        _content(organization, word=word),
        _network(organization, word=word),
        _export(organization, word=word),
        *_tasks(organization, ids[0], word=word),
        _prompt(organization, word=word),
        *_workflow(organization, ids[0], word=word),
    )  # fmt: skip


def _orchestrator(orchestrator_id: str, organization: Organization, *, word: str) -> None:
    instances.create(
        orchestrator_id,
        organization=organization,
        acting_user=None,
        name=f"{word} orchestrator",
        health_status={"status": "healthy", "note": word},
        features={word: word},
        labels={"word": word},
        session_config={word: word},
        internal_url=f"https://{word}.example:8443/{word}",
        database_url=f"postgres://{word}:{word}@db.{word}.example/{word}",
        redis_url=f"redis://:{word}@redis.{word}.example/0",
        container_id=f"container-{word}",
        image_name=f"registry.example/{word}:1",
        environment_variables={f"KEY_{word}": word},
        phoenix_endpoint=f"https://phoenix.{word}.example",
        admin_email=f"admin@{word}.example",
        support_email=f"support@{word}.example",
        website=f"https://{word}.example/",
        version=f"1.0-{word}",
        capabilities=[word],
        metadata={word: word},
        config_reported_hash=f"sha256:{word}",
        config_error=f"{word} failed",
    )


def _override(orchestrator_id: str, *, word: str) -> None:
    """Give what one has of its own a second version."""
    row = Instance.objects.get(orchestrator_id=orchestrator_id)
    instances.update(row, acting_user=None, features={word: word, "second": word})
    OverrideVersion.objects.filter(orchestrator__organization_id=row.organization_id).update(
        comment=f"because {word}", author=f"{word} author"
    )


def _session(word: str) -> dict[str, Any]:
    now = timezone.now()
    return {
        "is_connected": True, "session_id": f"S{word}"[:32], "epoch": 3, "node": f"node-{word}", "connected_at": now,
        "remote_address": f"host-{word}", "credential_id": f"key_{word}"[:32], "status": "active", "last_seen": now,
        "last_activity": now, "deadline_at": Instance.deadline_after(now),
    }  # fmt: skip


def _user(organization: Organization, *, word: str) -> User:
    user = User.objects.create_user(f"{word}-staff", f"staff@{word}.example", PASSWORD, first_name=word, last_name=word)
    Membership.objects.create(user=user, organization=organization, role="viewer")
    return user


def _message(orchestrator_id: str, *, word: str, status: str) -> Message:
    return Message.objects.create(
        orchestrator_id=orchestrator_id,
        message_id=f"msg_{word}_{status}",
        message_type=f"{word}_type",
        message_content={word: word},
        status=status,
        error=f"{word} broke",
        result={word: word},
    )


def _rollout(organization: Organization, *, word: str) -> Rollout:
    """Make version 1 of its configuration, and the rollout that brought it and has ended."""
    now, document = timezone.now(), organization.settings["config"]
    version = ConfigVersion.objects.create(
        organization=organization,
        version=1,
        document=document,
        config_hash=configuration.digest(document),
        changes=configuration.difference({}, document),
        comment=f"because {word}",
        author=f"{word} author",
        created_at=now,
        released_at=now,
    )
    return Rollout.objects.create(
        organization=organization,
        target=version,
        is_staged=True,
        stages=[{"labels": {word: word}}],
        status="completed",
        soak_seconds=3600,
        failures=[{"orchestrator_id": f"{organization.pk}-1", "error": f"{word} failed"}],
        reason=f"{word} did not answer",
        started_by=f"{word} author",
        started_at=now,
        stage_started_at=now,
    )


def _job(organization: Organization, *, word: str) -> str:
    """Post a bulk action that nobody does, with the traces of a half done one."""
    with audit.origin(f"{word} actor"):
        job = bulk.start(
            "message",
            selector={"organization_id": organization.pk, "search": word},
            parameters={"message_type": word[:50], "message_content": {word: word}},
            acting_user=None,
            organization_id=organization.pk,
        )
    lease = timezone.now() + timedelta(days=1)
    problem = {"orchestrator_id": word, "error": f"{word} broke"}
    Job.objects.filter(pk=job.pk).update(errors=[problem], result={word: word}, lease_until=lease)
    return job.job_id


def _export(organization: Organization, *, word: str) -> str:
    """Have what was measured exported to a file."""
    now = timezone.now()
    span = {"start": f"{now - timedelta(days=1):%Y-%m-%d}", "end": f"{now:%Y-%m-%d}"}
    body = {"export_type": "json", "metrics": ["cpu_usage_percent"], "time_range": span}
    with audit.origin(f"{word} actor"):
        job = making.start(Wish.parse(body), organization_id=organization.pk, acting_user=None)
    claimed = jobs.claim(job.job_id)
    assert claimed is not None
    assert jobs.run(claimed).status == Job.Status.COMPLETED
    return job.job_id


def _tasks(organization: Organization, orchestrator_id: str, *, word: str) -> tuple[str, str, str]:
    """Leave an agent with its route, a task that an orchestrator holds, and one that waits; return their ids."""
    Route.objects.create(organization=organization, task_type=word, agent_id=f"{word}-agent")
    event_rules.create(
        organization, name=f"{word} rule", event_type=word, conditions={word: word}, task_type=word,
        payload={word: word}, acting_user=None,
    )  # fmt: skip
    agent = agents.create(
        organization, name=f"{word} agent", acting_user=None, agent_id=f"{word}-agent", model=word,
        system_prompt=f"You are {word}", parameters={word: word}, capabilities=[word],
    )  # fmt: skip
    details = board.Details(source=word, metadata={word: word}, timeout_seconds=3600)
    with audit.origin(f"{word} actor"):
        held, waiting = (
            work.create(
                organization, task_type=word, payload={word: word}, priority=priority, acting_user=None, details=details
            )
            for priority in (10, "P1")
        )
    Task.objects.filter(pk=held.pk).update(
        status="in_progress", holder=f"{word} holder", orchestrator_id=orchestrator_id, lease=1, attempts=1,
        lease_until=timezone.now() + timedelta(days=1), started_at=timezone.now(), result={word: word},
        error=f"{word} broke",
    )  # fmt: skip
    TaskStep.objects.create(task=held, kind="taken", actor=f"{word} holder", note=f"{word} took it", at=timezone.now())
    approval = waiting.approval
    Approval.objects.filter(pk=approval.pk).update(
        reason=f"{word} tasks wait", decision_reason=f"because {word}", decided_by=f"{word} decider"
    )
    return held.task_id, approval.approval_id, agent.agent_id


def _prompt(organization: Organization, *, word: str) -> str:
    """Leave a prompt to the agent that was answered; return its id."""
    asked = asking.document(organization, {"prompt": word, "context": {word: word}, "agent_id": f"{word}-agent"})
    row = book.create(organization, asked=asked, how=book.Asking(f"{word} actor", task_id=f"{word}-task"))
    assert book.claim(row.prompt_id, call_id=f"call_{word}_2", now=timezone.now())
    outcome = Outcome(status="completed", error=word, text=word, asked_model=word, model=word, provider=word)
    book.finish(row.prompt_id, outcome)
    return row.prompt_id


def _workflow(organization: Organization, orchestrator_id: str, *, word: str) -> tuple[str, str, str]:
    """Leave a template, and a run of it that failed in part and is not over; return their ids and its batch's."""
    steps = [{"name": word, "type": "prompt", "prompt": f"{word} {{{{text}}}}"}]
    template = flows.create(
        organization, name=f"{word}-flow", steps=steps, acting_user=None, description=f"{word} does it"
    )
    wish = runs.Wish(f"{word}-flow", {"text": word}, (word,), workflow_id=f"{word}-run", user_id=word)
    asked = Asked(f"key:{word}", word, orchestrator_id=orchestrator_id)
    with audit.origin(f"{word} actor"):
        run = runs.create(organization, wish, asked=asked, batch_id=f"wfb_{word}"[:40])
    WorkflowRun.objects.filter(pk=run.pk).update(error=f"{word} broke")
    step = run.steps.get()
    WorkflowStep.objects.filter(pk=step.pk).update(error=f"{word} broke", kind=word[:30])
    WorkflowCall.objects.create(
        call_id=f"flow_{word}", step=step, model=f"{word}/{word}", error=word, cost_usd_micros=5,
        started_at=timezone.now(),
    )  # fmt: skip
    return template.template_id, run.workflow_id, run.batch_id


def _alerts(organization: Organization, orchestrator_id: str, *, word: str) -> tuple[str, str, str]:
    """Leave an alert that fires, a rule of its own and a silence; return their ids."""
    now = timezone.now()
    at = {"organization_id": organization.pk, "orchestrator_id": orchestrator_id}
    alert = Alert.objects.create(
        dedup_key=f"{word}/{organization.pk}", alert_type=f"{word}_type", rule_key=f"{word}_rule", severity="error",
        title=f"{word} is wrong", detail=f"{word} broke", started_at=now, last_seen_at=now, is_announced=True,
        acknowledged_by=f"{word} actor", resolved_by=f"{word} actor",
        timeline=[{"at": now.isoformat(), "what": "fired", "note": word}], **at,
    )  # fmt: skip
    rule = Rule.objects.create(
        rule_key=f"{word}_rule", organization_id=organization.pk, alert_type=word, title=f"{word} rule",
        metric="cpu_usage_percent", threshold=70, severity="info", scope="orchestrator", changed_by=f"{word} actor",
    )  # fmt: skip
    silence = Silence.objects.create(
        organization_id=organization.pk, labels={"word": word}, rule_key=word, reason=f"because {word}",
        created_by=f"{word} actor", orchestrator_id=word, alert_id=word, starts_at=now, ends_at=now + timedelta(days=1),
    )  # fmt: skip
    return alert.alert_id, str(rule.pk), silence.silence_id


def _channel(organization: Organization, *, word: str) -> str:
    """Make a channel whose network is not allowed any more, so that nothing is called; with one that waits for it."""
    allowed = networks.allow(organization, "10.2.0.0/16", acting_user=None)
    row, _ = channels.create(
        organization,
        kind="email",
        name=f"{word} mail",
        acting_user=None,
        recipients=[f"ops@{word}.example"],
        username=word,
        url=f"smtp://10.2.0.1/{word}",
        secret=f"{word}-password",
    )
    networks.refuse(allowed, acting_user=None)
    Channel.objects.filter(pk=row.pk).update(last_error=f"{word} broke")
    now = timezone.now()
    Delivery.objects.create(
        channel=row, organization_id=organization.pk, alert_id=f"alr_{word}"[:32], dedup_key=f"{word}:cpu",
        action="trigger", notice={"title": word}, error=f"{word} broke", holder=f"{word} holder", created_at=now,
        next_attempt_at=now + timedelta(days=1), expires_at=now + timedelta(days=2),
    )  # fmt: skip
    return row.channel_id


def _gateway(organization: Organization | None, *, word: str) -> tuple[str, str]:
    """Make a provider that answers by itself, so that nothing is called, and an alias; return their ids."""
    row = providers.create(
        organization,
        acting_user=None,
        name=f"{word}-echo",
        dialect="echo",
        base_url=f"https://93.184.215.14/{word}",
        api_key=f"{word}-provider-key-0123",
        known_models=[word],
    )
    alias = aliases.create(organization, alias=f"{word}-alias", targets=[{"model": word}], acting_user=None)
    return row.provider_id, alias.alias_id


def _money(organization: Organization, key: ApiKey, *, word: str) -> tuple[str, str]:
    """Set limits and prices, and leave a call in the ledger; return the ids of its own price and one for everybody."""
    spending.put(organization, acting_user=None, budget_usd=5, by_model=[{"model": f"{word}-model", "budget_usd": 1}])
    spending.set_for_key(key, models=[f"{word}-model"], max_parallel=3)
    caching.put(organization, acting_user=None, models=[f"{word}-model"])
    guarding.put(organization, acting_user=None, rules=[{"name": word, "kind": "deny", "words": [f"{word} said"]}])
    amounts = {"input_usd_per_million": 1, "output_usd_per_million": 2}
    price, for_all = (
        prices.create(owner, acting_user=None, model=f"{word}-model", **amounts) for owner in (organization, None)
    )
    at = timezone.now().timestamp()
    begin = records.Begin(
        call_id=f"call_{word}", organization_id=organization.pk, key_id=key.key_id, requested_model=word, at=at,
        user=word, orchestrator_id=word, surface="chat", scope_model=f"{word}/{word}-model",
    )  # fmt: skip
    attempt = records.Attempt(
        call_id=begin.call_id, number=1, provider=word, model=word, at=at, error=word, provider_request_id=word
    )
    end = records.End(
        call_id=begin.call_id, at=at, status="completed", provider=word, model=word, error=word, cost_usd_micros=7,
        price={"source": word},
    )  # fmt: skip
    ledger.write([begin, attempt, end], holder=f"{word}-process")
    minute = int(at) // 60 * 60
    refused.write([(Key(organization.pk, minute, "insufficient_quota", key.key_id, f"{word}-refused"), Tally(1, at))])
    return price.price_id, for_all.price_id


def _content(organization: Organization, *, word: str) -> str:
    """Have what that call asked and was answered kept; return its id."""
    call_id = f"call_{word}"
    policies.put(organization, acting_user=None, keeps_content=True)
    heard = Heard(call_id, organization.pk, {"input": word}, 1, is_stream=False, kept_at=timezone.now())
    heard.take(word.encode())
    assert contents.write([heard]) == 1
    GatewayPolicy.objects.filter(organization=organization).delete()  # who sets one in the console finds none
    return call_id


def _network(organization: Organization, *, word: str) -> str:
    row = networks.allow(organization, "10.1.0.0/16", acting_user=None, reason=f"{word} runs there")
    return str(row.pk)


def _recommendation(orchestrator_id: str, *, word: str) -> Message:
    """Leave two recommendations: one that was read, and (returned) a new one."""
    old, new = (
        Message.objects.create(
            orchestrator_id=orchestrator_id,
            message_id=f"rec_{word}_{number}",
            direction=Message.Direction.INBOUND,
            message_type="recommendation",
            message_content={"text": word},
            status=Message.Status.DELIVERED,
        )
        for number in (1, 2)
    )
    at = timezone.now()
    Review.objects.create(
        message=old, status="read", reason=word, applied={word: word}, actor=f"{word} actor", reviewed_at=at
    )
    return new


def _traces(organization: Organization, orchestrator_id: str, *, word: str) -> None:
    """Leave what the past leaves: events, audit rows, metric samples and what comes of them."""
    at = {"organization_id": organization.pk, "orchestrator_id": orchestrator_id}
    events.record(f"{word}.happened", data={word: word}, **at)
    events.record("user.changed", organization_id=organization.pk, data={"username": word})
    with audit.origin(f"{word} actor", remote_address=f"host-{word}", request_id=f"request-{word}"):
        audit.record(
            f"{word}.changed",
            acting_user=None,
            organization_id=organization.pk,
            target=(f"{word}_type", word),
            before={word: word},
            after={word: word},
            reason=f"because {word}",
        )
    sample = SystemMetric(
        metric_id=f"metric-{word}"[:32],
        user_id=word,
        timestamp=timezone.now(),
        custom={word: 1},
        collected_by=f"by {word}",
        **at,
        **dict.fromkeys(NUMBERS, 1.0),
    )
    storage.insert([sample])
    MetricRollup.objects.create(resolution="hourly", start_at=storage.hour_of(sample.timestamp), samples=1, **at)
    activities.track("feature", organization_id=organization.pk, user_id=word, metadata={word: word})
    Collection.objects.create(organization_id=organization.pk, failures=1, last_error=f"{word} broke")
