package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/modal-labs/modal-client/go"
)

// t is what a case has: the client, an app, an image, and a way to fail. As python/harness.py.
type t struct {
	ctx    context.Context
	client *modal.Client
	app    *modal.App
	image  *modal.Image
}

// failed is what a case panics with, so that it can stop anywhere.
type failed struct{ message string }

func fail(format string, values ...any) { panic(failed{fmt.Sprintf(format, values...)}) }

func must[T any](value T, err error) T {
	if err != nil {
		fail("%T: %v", err, err)
	}
	return value
}

func check(err error) {
	if err != nil {
		fail("%T: %v", err, err)
	}
}

func equal[T comparable](found, expected T) {
	if found != expected {
		fail("found %.500q, expected %.500q", fmt.Sprint(found), fmt.Sprint(expected))
	}
}

// raised fails unless err is of the client's type E.
func raised[E error](err error) {
	var expected E
	if !errors.As(err, &expected) {
		fail("%T (%v) instead of %T", err, err, expected)
	}
}

func (t t) create(params *modal.SandboxCreateParams) *modal.Sandbox {
	return must(t.client.Sandboxes.Create(t.ctx, t.app, t.image, params))
}

func (t t) terminate(sandbox *modal.Sandbox) {
	_, err := sandbox.Terminate(t.ctx, nil)
	check(err)
}

func (t t) exec(sandbox *modal.Sandbox, params *modal.SandboxExecParams, command ...string) *modal.ContainerProcess {
	return must(sandbox.Exec(t.ctx, command, params))
}

// output runs a program: exit code, stdout, stderr.
func (t t) output(sandbox *modal.Sandbox, params *modal.SandboxExecParams, command ...string) (int, string, string) {
	process := t.exec(sandbox, params, command...)
	stdout, stderr := must(io.ReadAll(process.Stdout)), must(io.ReadAll(process.Stderr))
	return must(process.Wait(t.ctx, nil)), string(stdout), string(stderr)
}

type testCase struct {
	name string
	run  func(t)
}

var reporting sync.Mutex

func report(message map[string]any) {
	reporting.Lock()
	defer reporting.Unlock()
	fmt.Printf("@%s\n", must(json.Marshal(message)))
}

func runOne(one testCase, with t) {
	var message any
	defer func() { report(map[string]any{"case": one.name, "error": message}) }()
	defer func() {
		if thrown := recover(); thrown != nil {
			message = fmt.Sprintf("%v\n%s", thrown, debug.Stack())
		}
	}()
	one.run(with)
}

// patient is a deadline as long as this machine needs, as support/slowness.ts says.
func patient(deadline time.Duration) time.Duration {
	slowness, err := strconv.ParseFloat(os.Getenv("SKERRY_TEST_SLOWNESS"), 64)
	if err != nil || slowness < 1 {
		return deadline
	}
	return time.Duration(float64(deadline) * slowness)
}

// runAll runs the cases four at a time; arguments choose some by name.
func runAll(cases []testCase) {
	ctx, cancel := context.WithTimeout(context.Background(), patient(3*time.Minute))
	defer cancel()
	client := must(modal.NewClient())
	app := must(client.Apps.FromName(ctx, "life-go", &modal.AppFromNameParams{CreateIfMissing: true}))
	with := t{ctx, client, app, client.Images.FromRegistry("python:3.11-slim", nil)}
	chosen := slices.DeleteFunc(cases, func(one testCase) bool {
		return len(os.Args) > 1 && !slices.Contains(os.Args[1:], one.name)
	})
	names := make([]string, 0, len(chosen))
	for _, one := range chosen {
		names = append(names, one.name)
	}
	report(map[string]any{"plan": names})
	slots := make(chan struct{}, 4)
	var running sync.WaitGroup
	for _, one := range chosen {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			runOne(one, with)
		})
	}
	running.Wait()
}
