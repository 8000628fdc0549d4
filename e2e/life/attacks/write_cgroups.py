"""Tries to write where the control groups are. Prints the paths at which it could."""

import os

TOP = "/sys/fs/cgroup"


def written(path):
    try:
        with open(path, "x") as file:
            file.write("x")
        return True
    except OSError:
        return False


def made(path):
    try:
        os.mkdir(path)
        return True
    except OSError:
        return False


places = [TOP, *(os.path.join(TOP, name) for name in os.listdir(TOP))] if os.path.isdir(TOP) else []
for place in places:
    if os.path.isdir(place) and (written(f"{place}/attack") or made(f"{place}/attack-directory")):
        print(place)
    settings = f"{place}/memory.limit_in_bytes", f"{place}/memory.max", f"{place}/cgroup.procs"
    for setting in settings:
        try:
            with open(setting, "w") as file:
                file.write("0")
            print(setting)
        except OSError:
            pass
