"""What the operator's command says, in Japanese and English."""

from __future__ import annotations

from protocol.text import Lang, Text, language

_japanese: dict[str, str] = {}
"""Help texts: English → Japanese. Typer knows one language; ``localise`` exchanges the texts before it runs."""


def t(ja: str, en: str) -> str:
    """Register a help text and return the English one, which the command is declared with."""
    _japanese[en] = ja
    return en


def help_in(lang: Lang, english: str) -> str:
    """The help text of ``english`` in ``lang``."""
    return _japanese.get(english, english) if lang == "ja" else english


class Speech:
    """The language of this run; set once by the command line."""

    lang: Lang = language()

    def __call__(self, text: Text, **values: object) -> str:
        """Say ``text``."""
        return text.say(self.lang, **values)


say = Speech()

REFUSALS: dict[str, Text] = {
    "not_signed_in": Text(
        "サインインしていないか、期限が切れました", "not signed in, or the session is over"
    ),
    "wrong_password": Text("名前かパスワードが違います", "name or password is wrong"),
    "locked": Text("失敗が続いたため、しばらく受け付けません", "too many failures; shut for a while"),
    "forbidden": Text("この役割では許されていません", "your role may not do this"),
    "not_found": Text("見つかりません", "not found"),
    "already_there": Text("すでにあります", "already there"),
    "bad_value": Text("値が正しくありません", "a value is wrong"),
    "bad_request": Text("指定が正しくありません", "the request is wrong"),
    "reason_missing": Text("理由が要ります", "a reason is needed"),
    "wrong_state": Text("今の状態ではできません", "not possible in its present state"),
    "unsigned": Text("署名がありません", "not signed"),
    "foreign": Text(
        "信頼の根にない鍵、または他の市の文書です", "signed by a key, or for a city, that is not ours"
    ),
    "bad_signature": Text("署名が正しくありません", "the signature is wrong"),
    "role_missing": Text("署名者が足りません", "too few signers"),
    "wrong_target": Text("対象の端末が違います", "the wrong PC"),
    "stale": Text("古くなっています。作り直してください", "out of date; make it again"),
    "replayed": Text("この命令は一度出されています", "this order was posted before"),
    "untested": Text(
        "記録に当てて試していない方針です。今の方針のままです",
        "this policy was not tried on stored events; the one in force stays",
    ),
    "check_failed": Text("方針の下書きに誤りがあります", "the draft of the policy has errors"),
    "cancelled": Text("取りやめました", "cancelled"),
    "study_failed": Text("記録を調べられませんでした", "stored events could not be looked at"),
    "oversized": Text("大きすぎます", "too large"),
    "older_generation": Text("今の世代より新しくありません", "not newer than what is in force"),
    "expired": Text("期限が切れています", "expired"),
    "malformed_body": Text("文書が読めません", "the document cannot be read"),
    "self_approval": Text("申請者と許可者が同じ人です", "applicant and approver are one person"),
    "role_not_named": Text(
        "許可者がその条の定める職にありません", "the approver holds no office that the article names"
    ),
    "not_permittable": Text("許可できないものです", "no permit can cover this"),
    "wrong_article": Text(
        "その条は、この種類の許可についてのものではありません",
        "that article is not about a permit of this kind",
    ),
    "no_basis": Text("持ち出しには根拠が要ります", "a take-out needs a basis, and only that"),
    "no_contract": Text("委託契約の番号と監督者が要ります", "a contract number and a supervisor are needed"),
    "foreign_field": Text(
        "この種類の許可にない項目です", "a field that means nothing for this kind of permit"
    ),
    "bad_subject": Text("許可の対象の書き方が正しくありません", "the subject of the permit cannot be read"),
    "empty_period": Text("許可の期間がありません", "the permit would hold for no time"),
    "unknown_article": Text("その条は登録されていません", "that article is not loaded"),
    "subject_unspecific": Text("許可の対象が特定されていません", "the subject of the permit is not specific"),
    "bad_site_file": Text(
        "方針ファイル policy.yaml に誤りがあります", "the site file policy.yaml has errors"
    ),
    "wrong_code": Text("合言葉が違うか、ありません", "the passphrase is wrong or missing"),
    "corrupt": Text("壊れています", "damaged"),
    "collector_unreachable": Text("収集サーバーにつながりません", "the collector cannot be reached"),
    "insecure_url": Text("暗号化されていない遠隔の URL です", "an unencrypted URL of another machine"),
    "audit_failed": Text(
        "監査記録に書けないため、答えられません", "no answer, because the audit log cannot be written"
    ),
    "overloaded": Text("混み合っています", "overloaded"),
    "file": Text("ファイルを読めないか、書けません", "a file cannot be read or written"),
    "internal": Text("収集サーバーの内部の誤りです", "the collector made a mistake"),
}
"""Name of a refusal → what it means to a person."""

REFUSED = Text("断られました [{name}] {meaning}", "refused [{name}] {meaning}")
WHERE = Text("  詳しく: {detail}", "  detail: {detail}")
NEXT = Text("  次に: {hint}", "  next: {hint}")
NOTHING = Text("ありません", "nothing")
SIGNED_IN = Text(
    "{operator}（{role}）としてサインインしました。{until} まで",
    "signed in as {operator} ({role}) until {until}",
)
SIGNED_OUT = Text("サインアウトしました", "signed out")
CONFIRM = Text("続けますか", "go on?")
STOPPED = Text("やめました。何も変えていません", "stopped; nothing was changed")
NEEDS_YES = Text(
    "端末がないので確かめられません。--yes を付けてください", "no terminal to ask on; give --yes"
)
PASSPHRASE = Text("{path} の合言葉", "passphrase of {path}")
NEW_PASSPHRASE = Text("新しい合言葉", "new passphrase")
NAME = Text("名前", "name")
PASSWORD = Text("パスワード", "password")

ROLES: dict[str, Text] = {
    "it_staff": Text("情報システム担当", "IT staff"),
    "network_admin": Text("ネットワーク管理者", "network administrator"),
    "section_head": Text("所管課長", "section head"),
    "ciso": Text("最高情報セキュリティ責任者", "CISO"),
    "auditor": Text("監査", "auditor"),
}

STATES: dict[str, Text] = {
    "desired": Text("受付", "desired"),
    "sent": Text("送信", "sent"),
    "applied": Text("適用", "applied"),
    "verified": Text("確認済み", "verified"),
    "failed": Text("失敗", "failed"),
    "refused": Text("端末が拒否", "refused by the PC"),
    "unreachable": Text("応答なし", "unreachable"),
    "free": Text("接続中", "free"),
    "isolated": Text("隔離中", "isolated"),
    "pending": Text("承認待ち", "pending"),
    "active": Text("稼働", "active"),
    "quarantined": Text("検疫中", "quarantined"),
    "revoked": Text("失効", "revoked"),
    "granted": Text("有効", "granted"),
    "expired": Text("期限切れ", "expired"),
    "enforce": Text("止める", "enforce"),
    "observe": Text("見る", "observe"),
    "off": Text("切", "off"),
    "unsupported": Text("不可", "unsupported"),
    "blocked": Text("止めた", "blocked"),
    "observed": Text("見た", "observed"),
    "allowed": Text("通した", "allowed"),
    "informational": Text("参考", "informational"),
    "low": Text("低", "low"),
    "medium": Text("中", "medium"),
    "high": Text("高", "high"),
    "critical": Text("重大", "critical"),
}


def state(name: str) -> str:
    """A state, mode, action or level in the language of this run."""
    text = STATES.get(name)
    return say(text) if text else name


def role(name: str) -> str:
    """A role in the language of this run."""
    text = ROLES.get(name)
    return say(text) if text else name
