package main

import (
	"time"

	"github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func directories(t t) {
	sandbox := t.create(nil)
	defer t.terminate(sandbox)
	key := []byte("a key of the caller")
	read := func(path string) string {
		_, text, _ := t.output(sandbox, nil, "cat", path)
		return text
	}
	code, _, _ := t.output(sandbox, nil, "sh", "-c", "mkdir /dir; echo kept > /dir/file")
	equal(code, 0)
	plain := must(sandbox.SnapshotDirectory(t.ctx, "/dir", nil))
	check(sandbox.MountImage(t.ctx, "/plain", plain, nil))
	equal(read("/plain/file"), "kept\n")
	check(sandbox.UnmountImage(t.ctx, "/plain", nil))
	equal(read("/plain/file"), "")
	check(sandbox.MountImage(t.ctx, "/dir", nil, nil))
	equal(read("/dir/file"), "")
	check(sandbox.UnmountImage(t.ctx, "/dir", nil))
	sealed := must(sandbox.SnapshotDirectory(t.ctx, "/dir", &modal.SandboxSnapshotDirectoryParams{ExperimentalEncryptionKey: key}))
	equal(status.Code(sandbox.MountImage(t.ctx, "/sealed", sealed, nil)), codes.InvalidArgument)
	check(sandbox.MountImage(t.ctx, "/sealed", sealed, &modal.SandboxMountImageParams{ExperimentalEncryptionKey: key}))
	equal(read("/sealed/file"), "kept\n")
}

func exitSnapshot(t t) {
	without := t.create(nil)
	_, err := without.ExperimentalGetExitSnapshot(t.ctx, nil)
	raised[modal.InvalidError](err)
	t.terminate(without)
	sandbox := t.create(&modal.SandboxCreateParams{
		Command:             []string{"sh", "-c", "echo left > /left; read line"},
		ExperimentalOptions: map[string]any{"enable_exit_snapshot": true},
	})
	now := time.Duration(0)
	_, err = sandbox.ExperimentalGetExitSnapshot(t.ctx, &modal.SandboxExperimentalGetExitSnapshotParams{Timeout: &now})
	raised[modal.TimeoutError](err)
	must(sandbox.Stdin.Write([]byte("end\n")))
	left := must(sandbox.ExperimentalGetExitSnapshot(t.ctx, nil))
	copy := must(t.client.Sandboxes.Create(t.ctx, t.app, left, nil))
	defer t.terminate(copy)
	_, text, _ := t.output(copy, nil, "cat", "/left")
	equal(text, "left\n")
}
