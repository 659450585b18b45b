"""The script that Streamlit runs for every session and every click: the pages, or a note in place of one."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from coreviz_source.dashboard import charts, gallery, media, runs

st.set_page_config(page_title="CoreViz", page_icon=Path(__file__).with_name("icon.svg"), layout="wide")
st.html(Path(__file__).with_name("app.css"))
st.navigation([gallery.here(), charts.here(), runs.here(), media.here()], position="top").run()
