"""Writes the notebook on stdin to stdout as one HTML page that asks the network for nothing.

Arguments: the page's title and the folder that images of text cells are relative to.
"""

import sys

import nbformat
from jinja2 import DictLoader
from nbconvert import HTMLExporter

# nbconvert's own page, less the libraries that it would fetch; what a cell's output or text names is not fetched either.
PAGE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}
<meta http-equiv="Content-Security-Policy" content="default-src data: blob: 'unsafe-inline' 'unsafe-eval'">
{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
"""

title, folder = sys.argv[1:]
exporter = HTMLExporter(extra_loaders=[DictLoader({"offline.html.j2": PAGE})], template_file="offline.html.j2", embed_images=True)
page, _ = exporter.from_notebook_node(nbformat.reads(sys.stdin.buffer.read().decode(), 4), {"metadata": {"name": title, "path": folder}})
sys.stdout.buffer.write(page.encode())
