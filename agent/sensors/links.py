"""Network links: which lines this PC is on, how it gets out, and whom it asks for names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from agent.link_changes import changes
from agent.link_storms import Calm
from agent.platform.link_ports import Links, LinkState
from agent.sensors import POLLIN, Sensor
from policies.model import Control
from protocol.events import Event, LinkChanged
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform


class LinksSensor(Sensor):
    """Told by rtnetlink and by changes of resolv.conf; then all of it is looked at."""

    name: ClassVar[str] = "links"
    control: ClassVar[Control] = "links"
    emits: ClassVar[tuple[type[Event], ...]] = (LinkChanged,)
    doc: ClassVar[Text] = Text(
        ja="端末の回線を見張り、無線の接続、二つめのネットワーク、ブリッジ、ゲートウェイと名前サーバーの変更、テザリング、VPN、"
        "アクセスポイント化を、カーネルの通知（rtnetlink）と resolv.conf の変化で報告します。起動時にあるものも報告します。",
        en="Watches the PC's lines: wireless, a second network, bridges, another gateway or name server, tethering, VPN, hotspot; "
        "by the kernel's notices (rtnetlink) and changes of resolv.conf. What is there at the start is reported too.",
    )
    limits: ClassVar[Text] = Text(
        ja="無線のネットワーク名は nl80211 のある機種でだけ分かり、それ以外では空になります。同じネットワーク名のままの別のアクセスポイントへの移動は報告しません。"
        "インタフェースを作らないVPN（IPsecのポリシーのみ、利用者権限の中継プログラム）は見えません。汎用ドライバ（CDC）のUSBドックはテザリングと表示されます。"
        "エージェントが処理している数ミリ秒のうちに現れて消えた回線は見えません。1分に24回を超える接続・切断は、1分ごとに結果だけを報告します（止めるべきものは常に報告します）。",
        en="The name of a wireless network is known where there is nl80211, else it is empty; roaming to another access point of "
        "the same name is not reported. A VPN without an interface (IPsec policies alone, a relay in user space) is not seen. A USB "
        "dock with a generic driver (CDC) shows as tethering. A link that comes and goes within the milliseconds of one look is "
        "missed. Of more than 24 comings and goings a minute only the outcome is told, once a minute (what may have to be "
        "stopped is told always).",
    )
    example: ClassVar[Event] = LinkChanged(
        time_us=1_790_000_000_000_000,
        action="blocked",
        permit="none",
        change="wireless_up",
        interface="wlan0",
        link_type="wireless",
        mac="00:e0:4c:00:00:01",
        ssid="guest-wifi",
        bssid="02:11:22:33:44:55",
        gateway="10.20.1.1",
        resolvers=("10.20.0.53",),
        networks=1,
    )
    period_s: ClassVar[float] = 60.0

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._links: Links | None = None
        self._known = LinkState()
        self._calm = Calm()

    def open(self) -> Iterable[Event]:
        """Raises UnsupportedError ``rtnetlink_unsupported``."""
        self._links = self.platform.links()
        self._links.filenos()  # watch before looking: nothing can fall between
        self._known = LinkState()
        return self._compare()

    def filenos(self) -> Iterable[tuple[int, int]]:
        return [(one, POLLIN) for one in self._links.filenos()] if self._links else ()

    def read(self, fileno: int) -> Iterable[Event]:
        return self._compare() if self._links and self._links.changed() else ()

    def recover(self) -> Iterable[Event]:
        return self._compare()

    def tick(self) -> Iterable[Event]:
        """What no notice tells: a driver's name of a network, a forwarder's servers. And what was held back."""
        return [*self._compare(), *self._calm.settle(self._known, self.platform.now_us())]

    def close(self) -> None:
        if self._links is not None:
            self._links.close()
            self._links = None

    def _compare(self) -> Sequence[Event]:
        if self._links is None:
            return []
        before, self._known = self._known, self._links.state()
        return self._calm.pass_on(changes(before, self._known, self.platform.now_us()), before)
