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
# gateways  所定の出口（アドレス）。書けば、ほかの出口を知らせる / designated gateways; when named, any other is flagged
# resolvers 所定の名前解決。allow で届くこと / designated name servers; `allow` must let PCs reach them
# wireless  allowed | permit（許可がいる）| forbidden。無線 / wireless links; `permit` = a permit is needed
# joint     同じく、二つめの網・橋渡し・VPN / the same for a second network, a bridge, a VPN
zones:
  - name: mynumber
    title: {ja: 個人番号利用事務系, en: My Number affairs}
    networks: [10.1.0.0/16]
    # gateways: [10.1.0.1]
    # resolvers: [10.1.0.53]
    wireless: permit
    joint: permit
    allow:
      - {network: 10.1.0.0/24, port: 443, protocol: tcp}   # 基幹業務サーバー / core business servers
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

# 三層の置き方 / how work is laid over the zones: alpha | alpha_prime | beta | beta_prime (α, α′, β, β′)
# 書けば、その日に有効な要件に足りないところを断ります。/ When named, what falls short of its requirements is refused.
# model: alpha

# 区域が決まっていない端末の区域 / the zone of a PC nobody has assigned yet
unassigned_zone: unassigned

# ---- 統制の働き方 / how each control runs -----------------------------------------------------------------------------
# control  devices 機器 | media 媒体 | software 導入 | execution 実行 | connections 通信 | neighbours 近くの機器
#          links 回線 | files 機密の置き場所 | logons ログオン | posture 端末の備え
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
  - {control: neighbours,  zone: "*", mode: observe}
  - {control: links,       zone: "*", mode: observe}
  - {control: files,       zone: "*", mode: observe}
  - {control: logons,      zone: "*", mode: observe}
  - {control: posture,     zone: "*", mode: observe}
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

# ---- 機密の置き場所 / confidential places ----------------------------------------------------------------------------------
# path      その端末の絶対パス。下のファイルの利用を人ごとに記録する / directory on the PCs; its use is recorded by person
# handlers  担当者のログイン名。書けば、ほかの人の利用を知らせる / login names of those in charge; others are flagged
# sections  置き場所がある課の端末だけ（なければ全部）/ only on PCs of these sections (all when left out)
# grade     機密性・完全性・可用性、1 低 〜 3 高 / confidentiality, integrity, availability, 1 low to 3 high
# places:
#   - name: juki
#     title: {ja: 住民記録の抽出, en: extracts of the resident register}
#     path: /srv/juki
#     handlers: [yamada, suzuki]
#     sections: [戸籍住民課]
#     grade: {confidentiality: 3, integrity: 3, availability: 2}

# ---- 機密の印 / confidentiality labels --------------------------------------------------------------------------------------
# marks     文書の中でその印となる語 / words that show the label in a document
labels:
  - {name: 機密, marks: [機密性3, 取扱注意, 部外秘, 極秘]}

# ---- 一人の職員のものでないアカウント / accounts that are not one member of staff ---------------------------------------------
# kind      shared 共用 | contractor 受託者 | service 機械    until 契約の最後の日 / the contract's last day
# accounts:
#   - {user: madoguchi, kind: shared, section: 戸籍住民課}
#   - {user: vendor1, kind: contractor, contract: 保守委託 第12号, until: 2027-03-31}

# ---- 規則が使う名簿 / named lists that rules use ------------------------------------------------------------------------------
# Sigma の規則の %internal_nets% などに当てはまる値 / values for %internal_nets% and the like in Sigma rules
# lists:
#   internal_nets: [10.0.0.0/8]

# ---- 条例の定めより厳しくする / stricter than the ordinance -------------------------------------------------------------------
# severity | levels | permit_by | permittable | retention_years | report_to | order_by
# 厳しくするのは自由です。緩めるには ground（理由と決めた人）がいり、方針と一緒に署名され、警報にも表れます。
# You may always ask more. Asking less needs `ground` (why, and who decided): it is signed and shown with every alert.
# articles:
#   - {ordinance: nagoya, article: 第35条第3号, severity: high, retention_years: 5}
#   - {ordinance: nagoya, article: 第35条第4号, permit_by: [section_head, csirt], ground: 2027-04-01 情報審査委員会の決定}

# この市で使わない規則の id / ids of shipped rules this city does not use
rules_off: []

# 署名した方針の有効日数。切れる前に出し直す / days a signed release stays valid; release again before it lapses
valid_days: 400
"""
