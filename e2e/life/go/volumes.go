package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/modal-labs/modal-client/go"
)

func (t t) sh(sandbox *modal.Sandbox, script string) string {
	code, stdout, stderr := t.output(sandbox, nil, "sh", "-c", script)
	if code != 0 {
		fail("%s ended with %d: %s", script, code, stderr)
	}
	return stdout
}

func volumes(t t) {
	name := fmt.Sprintf("go-%d", time.Now().UnixNano())
	_, err := t.client.Volumes.FromName(t.ctx, name, nil)
	raised[modal.NotFoundError](err)
	volume := must(t.client.Volumes.FromName(t.ctx, name, &modal.VolumeFromNameParams{CreateIfMissing: true}))
	readOnly, part := true, "a/b"
	one := t.create(&modal.SandboxCreateParams{Volumes: map[string]*modal.Volume{
		"/data": volume,
		"/ro":   volume.WithMountOptions(&modal.VolumeMountOptionsParams{ReadOnly: &readOnly}),
		"/part": volume.WithMountOptions(&modal.VolumeMountOptionsParams{SubPath: &part}),
	}})
	defer t.terminate(one)
	other := t.create(&modal.SandboxCreateParams{Volumes: map[string]*modal.Volume{"/data": volume}})
	equal(t.sh(other, "test -e /data/file || echo none"), "none\n")
	equal(t.sh(one, "echo part > /part/file; echo all > /data/file; cat /data/a/b/file /ro/file"), "part\nall\n")
	_, _, stderr := t.output(one, nil, "sh", "-c", "echo x > /ro/x")
	if !strings.Contains(stderr, "Read-only") {
		fail("found %q", stderr)
	}
	equal(t.sh(other, "test -e /data/file || echo none"), "none\n")
	check(other.ReloadVolumes(t.ctx, nil))
	equal(t.sh(other, "cat /data/a/b/file /data/file; echo other > /data/file"), "part\nall\n")
	t.terminate(other)
	check(one.ReloadVolumes(t.ctx, nil))
	equal(t.sh(one, "cat /data/file"), "other\n")
	check(t.client.Volumes.Delete(t.ctx, name, nil))
	_, err = t.client.Volumes.FromName(t.ctx, name, nil)
	raised[modal.NotFoundError](err)
}
