"""`code` in any page becomes a link where the site has something of that name: a function, a file, a stepper, an example.

So documents need no links of their own, and read as well outside of the site.  Pages of source link back to the reference.
"""
from __future__ import annotations

import pathlib
import re

from docutils import nodes
from source_pages import page_of
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

PREFIXES = ("", "tinyseg.", "tinyseg.functional.", "tinyseg.nn.", "tinyseg.tensor.", "tinyseg.models.", "tinyseg.data.")


class CodeLinks(SphinxPostTransform):
    default_priority = 400

    def run(self, **_) -> None:
        objects = self.env.domains.python_domain.objects
        self.here = {name.rpartition(".")[2] for name, found in objects.items() if found.docname == self.env.docname}
        for node in list(self.document.findall(nodes.literal)):
            place = None if _is_within_a_link(node) else self.place_of(node.astext().strip())
            if place:
                link = make_refnode(self.app.builder, self.env.docname, *place, node.deepcopy())
                node.replace_self(link)

    def place_of(self, text: str) -> tuple[str, str] | None:
        """(document, anchor) of what this names."""
        if command := re.match(r"tinyseg step ([\w-]+)", text):
            return self._stepper(command[1])
        if re.fullmatch(r"[\w./-]+(\.py|/)", text):
            return self._file(text)
        if name := re.match(r"[A-Za-z_][\w.]*", text):
            if text[name.end():] in ("", "()") or text[name.end()] == "(":
                return self._object(name[0])
        return None

    def _stepper(self, name: str) -> tuple[str, str] | None:
        document, anchor, _ = self.env.domains.standard_domain.labels.get(f"step-{name}", ("", "", ""))
        return (document, anchor) if document else None

    def _file(self, path: str) -> tuple[str, str] | None:
        """An example of the gallery, a page of source, or a module of the reference."""
        gallery = "generated/gallery/" + pathlib.PurePath(path).stem
        if path.startswith("examples/lecture/") and gallery in self.env.all_docs:
            return gallery, ""
        for name in (path, f"tinyseg/{path}"):
            if page_of(name) in self.env.all_docs:
                return page_of(name), ""
        module = path.strip("/").removesuffix(".py").replace("/", ".").removeprefix("tinyseg.")
        return self._object(f"tinyseg.{module}")

    def _object(self, name: str) -> tuple[str, str] | None:
        domain = self.env.domains.python_domain
        if name in self.here:
            return None                                       # the reader is there already
        for prefix in PREFIXES:
            if prefix + name in domain.objects:
                found = domain.objects[prefix + name]
                return found.docname, found.node_id
            if "." in prefix + name and prefix + name in domain.modules:
                found = domain.modules[prefix + name]
                return found.docname, found.node_id
        return None


def _is_within_a_link(node: nodes.Node) -> bool:
    while node := node.parent:
        if isinstance(node, (nodes.reference, nodes.title)):
            return True
    return False


def link_back(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Lead the links [docs] of a page of source to where its objects are described; viewcode does not know all names."""
    if not pagename.startswith("_modules/tinyseg"):
        return
    objects = app.env.domains.python_domain.objects
    module = pagename.removeprefix("_modules/").replace("/", ".")

    def mended(match: re.Match) -> str:
        parts = match[1].split(".")
        for name in (match[1], *(".".join([module, *parts[k:]]) for k in range(1, len(parts)))):
            if name in objects:
                uri = app.builder.get_relative_uri(pagename, objects[name].docname)
                return f'<a class="viewcode-back" href="{uri}#{objects[name].node_id}">[docs]</a>'
        return ""

    context["body"] = re.sub(r'<a class="viewcode-back" href="[^"#]*#([^"]*)">.*?</a>', mended, context.get("body", ""))


def setup(app) -> None:
    app.add_post_transform(CodeLinks)
    app.connect("html-page-context", link_back)
