package main

import (
	"bufio"

	"github.com/modal-labs/modal-client/go"
)

// What it counts to is in its memory alone.
const count = "n=0; while read line; do n=$((n+1)); echo $n; done"

func goesOn(t t) {
	sandbox := t.create(&modal.SandboxCreateParams{
		Command:                    []string{"sh", "-c", count},
		ExperimentalEnableSnapshot: true,
	})
	defer t.terminate(sandbox)
	next := func(sandbox *modal.Sandbox, lines *bufio.Reader) string {
		must(sandbox.Stdin.Write([]byte("more\n")))
		return must(lines.ReadString('\n'))
	}
	lines := bufio.NewReader(sandbox.Stdout)
	equal(next(sandbox, lines), "1\n")
	snapshot := must(sandbox.ExperimentalSnapshot(t.ctx, nil))
	copy := must(t.client.Sandboxes.ExperimentalFromSnapshot(t.ctx, snapshot, nil))
	defer t.terminate(copy)
	equal(next(sandbox, lines), "2\n")
	equal(next(copy, bufio.NewReader(copy.Stdout)), "2\n")
}
