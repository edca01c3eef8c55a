"""Makes the documents' links work in the site as they do on GitHub.

A link to a file that the site does not have, such as ../benchmarks/REPORT.md, leads to that file in the repository.
"""

import posixpath
import re

LINK = re.compile(r"\]\(([^)#\s:]+)(#[^)\s]*)?\)")
EXCLUDED = ("api/", "examples/", "site/")


def on_page_markdown(markdown, page, config, files):
    folder = posixpath.dirname(page.file.src_uri)

    def rewrite(match):
        target, anchor = match.group(1), match.group(2) or ""
        path = posixpath.normpath(posixpath.join("docs", folder, target))
        inside = path.startswith("docs/") and not path.removeprefix("docs/").startswith(EXCLUDED)
        if inside and "." in posixpath.basename(path):
            return match.group(0)
        return f"]({config['repo_url']}/blob/main/{path}{anchor})"

    return LINK.sub(rewrite, markdown)
