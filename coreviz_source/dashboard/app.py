"""The script that Streamlit runs for every session and every click: the pages, or a note in place of one."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from coreviz_source.dashboard import charts, gallery, head, media, runs

st.set_page_config(page_icon=Path(__file__).with_name("icon.svg"), layout="wide")
st.html(Path(__file__).with_name("app.css"))
pages = [gallery.here(), charts.here(), runs.here()]
page = st.navigation([*pages, media.here()], position="hidden")
with st.container(horizontal=True, key="head", vertical_alignment="center"):
    head.links(pages)
    state = st.container(width="content")
page.run()
with state:
    head.state()
