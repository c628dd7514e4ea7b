#!/usr/bin/env python3
"""Reads a run's report.html with Python's standard library, as XML and as HTML.

  read_report.py FILE    prints {"text": what a reader sees, "points": {"line, step N": "value"}, "cells": the numbers of
                         the confusion table, "pictures": N}; ends with status 1 when an element is not closed, an
                         attribute leads out of the page, or there is a script
"""
import base64
import html.parser
import json
import sys
import xml.etree.ElementTree as tree

LEADS = {"src", "href", "action", "data", "poster", "srcset", "background", "formaction"}


class Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.pictures = [], [], 0

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)  # one that has no end closes itself, since the page is XML, too
        self.check(tag, attributes)

    def handle_startendtag(self, tag, attributes):
        self.check(tag, attributes)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            sys.exit(f"line {self.getpos()[0]}: </{tag}> closes nothing")

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.text.append(data)
        if self.open and self.open[-1] == "style" and ("url(" in data or "@import" in data):
            sys.exit("the style sheet leads out of the page")

    def check(self, tag, attributes):
        if tag in ("script", "iframe", "link", "object", "embed", "base", "form"):
            sys.exit(f"line {self.getpos()[0]}: <{tag}> in a page that needs nothing")
        for name, value in attributes:
            if name.startswith("on"):
                sys.exit(f"line {self.getpos()[0]}: a script in {name}")
            if name not in LEADS:
                continue
            head = "data:image/png;base64,"
            if tag != "img" or not value.startswith(head):
                sys.exit(f"line {self.getpos()[0]}: {name} leads to {value}")
            if not base64.b64decode(value[len(head):], validate=True).startswith(b"\x89PNG"):
                sys.exit(f"line {self.getpos()[0]}: the picture is no PNG")
            self.pictures += 1


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        page = file.read()
    root = tree.fromstring(page)
    reader = Reader()
    reader.feed(page)
    reader.close()
    if reader.open:
        sys.exit(f"never closed: {reader.open}")
    points = dict(title.text.rsplit(": ", 1) for title in root.iterfind(".//circle/title"))
    cells = [[int(cell.text.replace(",", "")) for cell in row.iterfind("td")]
             for row in root.iterfind(".//table[@class='confusion']/tbody/tr")]
    print(json.dumps({"text": "".join(reader.text), "points": points, "cells": cells, "pictures": reader.pictures}))


if __name__ == "__main__":
    main()
