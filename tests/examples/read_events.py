#!/usr/bin/env python3
"""Reads TensorBoard event files with nothing of ours: Python's standard library and protoc.

  read_events.py FILE...    prints one JSON object an event, or says what is wrong and ends with status 1

Checksums are computed bit by bit, as RFC 3720 defines them, without a table.
"""
import ast
import json
import os
import re
import struct
import subprocess
import sys

SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "event.proto")


def crc32c(data):
    rest = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            low = (rest ^ (byte >> bit)) & 1
            rest = (rest >> 1) ^ (0x82F63B78 if low else 0)
    return rest ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def messages(path):
    with open(path, "rb") as file:
        data = file.read()
    at = 0
    while at < len(data):
        if len(data) < at + 12:
            sys.exit(f"{path}: byte {at}: the file ends within a record's head")
        length, check = struct.unpack_from("<QI", data, at)
        if masked(data[at:at + 8]) != check:
            sys.exit(f"{path}: byte {at}: the checksum of a length is wrong")
        if len(data) < at + 16 + length:
            sys.exit(f"{path}: byte {at}: the file ends within a record")
        message = data[at + 12:at + 12 + length]
        if masked(message) != struct.unpack_from("<I", data, at + 12 + length)[0]:
            sys.exit(f"{path}: byte {at}: the checksum of a message is wrong")
        yield message
        at += 16 + length


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def decode(path):
    """Events as protoc prints them: a list of lines for each."""
    joined = b"".join(b"\x0a" + varint(len(m)) + m for m in messages(path))
    command = ["protoc", "--decode=Events", "-I", os.path.dirname(SCHEMA), SCHEMA]
    text = subprocess.run(command, input=joined, stdout=subprocess.PIPE, check=True).stdout.decode()
    return [event.split("\n") for event in re.findall(r"^event \{\n(.*?)^\}", text, re.M | re.S)]


def text(literal):
    """A text as protoc prints it: in quotes, bytes beyond ASCII in octal."""
    return ast.literal_eval("b" + literal).decode()


def as_object(path, lines):
    found = {"file": os.path.basename(path), "step": 0, "scalars": {}}
    tag = None
    for line in lines:
        key, _, value = line.strip().partition(": ")
        if key == "tag":
            tag = text(value)
            found["scalars"][tag] = 0.0  # which proto3 leaves out
        elif key == "simple_value":
            found["scalars"][tag] = float(value)
        elif key in ("step", "wall_time"):
            found[key] = float(value) if key == "wall_time" else int(value)
        elif key == "file_version":
            found[key] = text(value)
        elif key == "status":
            found[key] = value
        elif key and key not in ("}", "summary {", "value {", "session_log {"):
            sys.exit(f"{path}: unexpected field: {line.strip()}")  # protoc prints unknown fields by their number
    return found


def main():
    if crc32c(b"123456789") != 0xE3069283:
        sys.exit("read_events: its own checksum is wrong")
    for path in sys.argv[1:]:
        for lines in decode(path):
            print(json.dumps(as_object(path, lines)))


if __name__ == "__main__":
    main()
