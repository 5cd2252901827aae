"""The commented site file that ``sekisho-collector init`` writes: three zones, everything observed."""

from __future__ import annotations

SAMPLE = """\
# 関所 — この市の方針ファイル / the policy file of this city.
#
# 変えたあと / after a change:   sekisho policy diff            何が変わるかを見る / see what changes
#                               sekisho policy apply --key policy.key   署名して配る / sign and release
# 書き間違いは、ファイル名と行番号と直し方を示して断ります。/ A slip is refused with file, line and what to write instead.

# ---- 区域 / zones --------------------------------------------------------------------------------------------------
# name      台帳・許可・規則で使う短い名 / short name used by registers, permits and rules
# networks  その区域の網 (CIDR)。通信先の区域を言い当てるのに使う / its networks; they name the zone of a destination
# allow     この区域の端末がつないでよい先。port 0 = すべて、protocol = tcp | udp | icmp | any
#           where its PCs may connect. The collector's own address is always allowed, you need not list it.
zones:
  - name: mynumber
    title: {ja: 個人番号利用事務系, en: My Number affairs}
    networks: [10.1.0.0/16]
    allow:
      - {network: 10.1.0.0/24, port: 443, protocol: tcp}   # 基幹業務サーバ / core business servers
      - {network: 10.1.0.53/32, port: 53}                  # DNS
  - name: lgwan
    title: {ja: LGWAN接続系, en: LGWAN side}
    networks: [10.2.0.0/16]
    allow:
      - {network: 10.2.0.0/16}
  - name: internet
    title: {ja: インターネット接続系, en: Internet side}
    networks: [10.3.0.0/16]
    allow:
      - {network: 0.0.0.0/0, port: 443, protocol: tcp}
      - {network: 0.0.0.0/0, port: 80, protocol: tcp}
      - {network: 10.3.0.53/32, port: 53}

# 区域が決まっていない端末の区域 / the zone of a PC nobody has assigned yet
unassigned_zone: unassigned

# ---- 統制の働き方 / how each control runs -----------------------------------------------------------------------------
# control  devices | media | software | execution | connections
# zone     上の名、または "*"（ほかすべて）/ a name from above, or "*" = every other zone
# mode     off     何もしない / does nothing
#          observe 記録して知らせるが止めない。導入はここから / records and flags, stops nothing. Start here.
#          enforce 止める / stops
# fail     止める仕組みが死んだとき / when the mechanism that stops is dead:
#          open    通して警報 / let pass, with an alarm      closed  止めたまま / stay shut
#
# SECURITY: `off` と `fail: open` は守りを弱めます。個人番号利用事務系は closed を勧めます。
#           `off` and `fail: open` weaken the protection; for the My Number zone we advise closed.
settings:
  - {control: devices,     zone: "*", mode: observe}
  - {control: media,       zone: "*", mode: observe}
  - {control: software,    zone: "*", mode: observe}
  - {control: execution,   zone: "*", mode: observe}
  - {control: connections, zone: "*", mode: observe}
  # - {control: media,     zone: mynumber, mode: enforce, fail: closed}

# ---- あってよいソフトウェア / software that may be there and run -----------------------------------------------------------
# source  dpkg | rpm | pip | npm | user_place      package  名前、"*" = その源すべて / name, "*" = all of that source
# digest  プログラムの SHA-256（16進小文字）/ SHA-256 of a program, lower-case hex
software:
  - {source: dpkg, package: "*"}
  - {source: rpm, package: "*"}

# ---- 許可できない機器 / device classes that no permit can cover ------------------------------------------------------------
# storage | phone | network | bluetooth | input | badusb | hub | printer | audio | video | other
not_permittable: [badusb]

# 許可があっても読み取り専用にする区域 / zones where a permitted medium is read-only whatever the permit says
media_read_only: [mynumber]

# この市で使わない規則の id / ids of shipped rules this city does not use
rules_off: []

# 署名した方針の有効日数。切れる前に出し直す / days a signed release stays valid; release again before it lapses
valid_days: 400
"""
