package main

import (
	"strings"

	"github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func gpus(t t) {
	one := t.create(&modal.SandboxCreateParams{GPU: "t4"})
	equal(t.sh(one, "ls /dev | grep test-gpu"), "test-gpu1\n")
	_, err := t.client.Sandboxes.Create(t.ctx, t.app, t.image, &modal.SandboxCreateParams{GPU: "T4"})
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "0 of 1 free") {
		fail("%T: %v", err, err)
	}
	_, err = t.client.Sandboxes.Create(t.ctx, t.app, t.image, &modal.SandboxCreateParams{GPU: "H100:2"})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "1 × A100-80GB, 1 × T4") {
		fail("%T: %v", err, err)
	}
	t.terminate(one)
	both := t.create(&modal.SandboxCreateParams{GPU: "any:2"})
	defer t.terminate(both)
	equal(t.sh(both, "ls /dev | grep test-gpu"), "test-gpu0\ntest-gpu1\n")
}
