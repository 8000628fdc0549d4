package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/modal-labs/modal-client/go"
)

// The S3 server is `buckets.test.ts`'s.
func buckets(t t) {
	directory := filepath.Join(os.Getenv("LIFE_BUCKETS"), "first", "go", "deep")
	check(os.MkdirAll(directory, 0o755))
	check(os.WriteFile(filepath.Join(directory, "file"), []byte("from outside\n"), 0o644))
	secret := must(t.client.Secrets.FromMap(t.ctx, map[string]string{
		"AWS_ACCESS_KEY_ID":     os.Getenv("LIFE_AWS_ACCESS_KEY_ID"),
		"AWS_SECRET_ACCESS_KEY": os.Getenv("LIFE_AWS_SECRET_ACCESS_KEY"),
	}, nil))
	endpoint, prefix := os.Getenv("LIFE_ENDPOINT"), "go/deep/"
	mount := func(prefix *string, readOnly bool) *modal.CloudBucketMount {
		return must(t.client.CloudBucketMounts.New("first", &modal.CloudBucketMountParams{
			Secret: secret, BucketEndpointURL: &endpoint, KeyPrefix: prefix, ReadOnly: readOnly,
		}))
	}
	sandbox := t.create(&modal.SandboxCreateParams{CloudBucketMounts: map[string]*modal.CloudBucketMount{
		"/all":  mount(nil, true),
		"/part": mount(&prefix, false),
	}})
	defer t.terminate(sandbox)
	equal(t.sh(sandbox, "cat /all/go/deep/file /part/file; echo written > /part/new"), "from outside\nfrom outside\n")
	_, _, stderr := t.output(sandbox, nil, "sh", "-c", "echo x > /all/x")
	if !strings.Contains(stderr, "Read-only") {
		fail("found %q", stderr)
	}
	equal(string(must(os.ReadFile(filepath.Join(directory, "new")))), "written\n")
}
