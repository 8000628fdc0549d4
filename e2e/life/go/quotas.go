package main

import (
	"net/http"
	"os"
	"strings"

	"github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// As python/quotas.py: the token may have one sandbox, and make twelve in a minute.
func quotas(t t) {
	first := t.create(nil)
	exhausted(t, t.client, "quota of sandboxes is 1")
	t.terminate(first)
	check(os.Setenv("MODAL_MAX_THROTTLE_WAIT", "0"))
	hasty := must(modal.NewClient())
	takeAll(t)
	exhausted(t, hasty, "may be made in a minute. Try again in")
	t.terminate(t.create(nil)) // which waits
}

func exhausted(t t, client *modal.Client, why string) {
	_, err := client.Sandboxes.Create(t.ctx, t.app, t.image, nil)
	equal(status.Code(err), codes.ResourceExhausted)
	if !strings.Contains(err.Error(), why) {
		fail("%v", err)
	}
}

// takeAll has the token make as many sandboxes as it may just now: of an image that is not there, so there are none.
func takeAll(t t) {
	for {
		body := strings.NewReader(`{"image": "im-none"}`)
		request := must(http.NewRequestWithContext(t.ctx, "POST", os.Getenv("MODAL_SERVER_URL")+"/v1/sandboxes", body))
		request.Header.Set("Authorization", "Bearer "+os.Getenv("MODAL_TOKEN_ID")+":"+os.Getenv("MODAL_TOKEN_SECRET"))
		request.Header.Set("Content-Type", "application/json")
		response := must(http.DefaultClient.Do(request))
		check(response.Body.Close())
		if response.StatusCode == http.StatusTooManyRequests {
			return
		}
		equal(response.StatusCode, http.StatusNotFound)
	}
}
