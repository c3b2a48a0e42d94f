"""Forms of the channels' pages. Secrets are written here and never shown; a blank secret stays what it is."""

from typing import Any, Final

from django import forms
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from monitoring.alerts import channels
from monitoring.models import Channel
from moolai.errors import AppError

KINDS: Final = {
    "slack": "Slack — an incoming webhook",
    "email": "E-mail — through the installation's mail server, or one of its own",
    "pagerduty": "PagerDuty — an Events API v2 integration",
    "webhook": "Webhook — signed JSON to any address",
}
ADDRESS_HELP: Final = {
    "slack": "The address Slack gave you. It is a secret: only its host is shown.",
    "email": "smtp://host:587 (STARTTLS) or smtps://host:465. Empty: the installation's server (EMAIL_URL).",
    "webhook": "https://…; only its host is shown. Another address clears the secret.",
}
SECRET_WORDS: Final = {
    "email": ("Password", "Of the server above; it travels over TLS only."),
    "pagerduty": ("Integration key", "Of the service's Events API v2 integration."),
    "webhook": ("Signing secret", "16 or more characters. Empty: one is made, and shown once."),
}


NEW_HELP: Final = {
    "url": "Of the incoming webhook, of the receiver, or of a mail server (smtp://host:587, smtps://host:465). "
    "For mail empty: the installation's server (EMAIL_URL). Only its host is shown afterwards.",
    "secret": "PagerDuty: the integration key. Webhook: 16 or more characters, or empty to have one made. "
    "Mail: the password of a server of its own.",
}


class ChannelForm(forms.ModelForm):  # type: ignore[type-arg]
    """A channel's settings; which of them count, its kind says."""

    kind = forms.ChoiceField(choices=list(KINDS.items()), initial="slack", widget=UnfoldAdminRadioSelectWidget)
    url = forms.CharField(
        label="Address", required=False, max_length=2000, help_text=NEW_HELP["url"],
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "https://…", "autocomplete": "off"}),
    )  # fmt: skip
    secret = forms.CharField(
        required=False, max_length=500, strip=False, help_text=NEW_HELP["secret"],
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
    )  # fmt: skip
    recipients = forms.CharField(
        required=False, help_text="One address a line.", widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )
    sender = forms.EmailField(
        required=False, help_text="Empty: the installation's.", widget=UnfoldAdminTextInputWidget()
    )
    username = forms.CharField(
        label="User name", required=False, max_length=200, help_text="At a server of its own.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )  # fmt: skip

    class Meta:
        model = Channel
        fields = ["organization", "name", "min_severity", "is_enabled", "takes_approvals"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row: Any = self.instance
        if row.pk is None:
            return
        shown = channels.shown(row)
        for name in ("url", "sender", "username"):
            self.initial[name] = shown.get(name, "")
        self.initial["recipients"] = "\n".join(row.settings.get("recipients", []))
        self.fields["secret"].widget.attrs["placeholder"] = "stored; empty leaves it" if row.secret else "none"
        self._say_for(row.kind)

    def _say_for(self, kind: str) -> None:
        del self.fields["kind"]
        for name in ("url", "secret", *channels.SETTINGS):
            if name not in channels.USED[kind]:
                self.fields.pop(name, None)
        if "url" in self.fields:
            self.fields["url"].help_text = ADDRESS_HELP[kind]
        if "secret" in self.fields:
            self.fields["secret"].label, self.fields["secret"].help_text = SECRET_WORDS[kind]

    def clean_recipients(self) -> list[str]:
        """Read one address a line; commas are taken too."""
        return str(self.cleaned_data["recipients"]).replace(",", " ").split()

    def clean(self) -> dict[str, Any]:
        """Say what its room would refuse beside the field it is about."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        row: Channel = self.instance
        kind = row.kind or cleaned["kind"]
        try:
            channels.check(row if row.pk else Channel(organization=cleaned["organization"], kind=kind), **self.wish())
        except AppError as problem:
            for name, words in (problem.fields or {"url": problem.detail}).items():
                self.add_error(name if name in self.fields else None, words)
        return cleaned

    def wish(self) -> dict[str, Any]:
        """Return what the room is asked for: what the kind uses, and a secret only where one was written."""
        cleaned, row = self.cleaned_data, self.instance
        kind = row.kind or cleaned["kind"]
        names = {*channels.PLAIN, *channels.USED[kind]} - (set() if cleaned.get("secret") else {"secret"})
        return {name: cleaned[name] for name in names if name in cleaned}
