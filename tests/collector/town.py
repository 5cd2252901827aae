"""The smallest ordinance of a city's own."""

TOWN = """\
id: town
title_ja: 町
title_en: Town
edition: 2020-04-01
articles:
  - {number: 第1条, ja: あ, en: a, levels: [enforce], controls: [devices], report_to: [ciso]}
"""
