"""Makes the documents' links work in the site as they do on GitHub, and keeps the site free of other hosts.

A link to a file that the site does not have, such as ../benchmarks/REPORT.md, leads to that file in the repository. A
page that would load anything from another host fails the build.
"""

import posixpath
import re

from mkdocs.exceptions import PluginError

LINK = re.compile(r"\]\(([^)#\s:]+)(#[^)\s]*)?\)")
REQUEST = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"(?:https?:)?//[^\"]*|<link[^>]*stylesheet[^>]*//[^>]*")
EXCLUDED = ("api/", "examples/", "site/")


def on_page_markdown(markdown, page, config, files):
    folder = posixpath.dirname(page.file.src_uri)

    def rewrite(match):
        target, anchor = match.group(1), match.group(2) or ""
        path = posixpath.normpath(posixpath.join("docs", folder, target))
        inside = path.startswith("docs/") and not path.removeprefix("docs/").startswith(EXCLUDED)
        if inside and "." in posixpath.basename(path):
            return match.group(0)
        return f"]({config['extra']['repository']}/blob/main/{path}{anchor})"

    return LINK.sub(rewrite, markdown)


def on_post_page(output, page, config):
    if found := REQUEST.search(output):
        raise PluginError(f"{page.file.src_uri} loads from another host: {found.group(0)}")
    return output
