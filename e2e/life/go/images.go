package main

import (
	"os"
	"strings"

	"github.com/modal-labs/modal-client/go"
)

// Methods of images, on the image that `python/image_methods.py` makes.

func tools(t t) *modal.Image { return t.client.Images.FromRegistry("tools:1", nil) }

// said is what a shell prints in a sandbox of the image.
func said(t t, image *modal.Image, command string) string {
	params := &modal.SandboxCreateParams{Command: []string{"sleep", "300"}}
	sandbox := must(t.client.Sandboxes.Create(t.ctx, t.app, image, params))
	defer t.terminate(sandbox)
	return t.sh(sandbox, command)
}

func refused(t t, image *modal.Image, words string) {
	_, err := image.Build(t.ctx, t.app, nil)
	if err == nil || !strings.Contains(err.Error(), words) {
		fail("%v instead of %q", err, words)
	}
}

func buildVariables(t t) {
	secret := must(t.client.Secrets.FromMap(t.ctx, map[string]string{"OTHER": "x"}, nil))
	for _, word := range []string{"go", "again"} {
		image := tools(t).DockerfileCommands([]string{"RUN echo $WORD-$OTHER >/said"}, &modal.ImageDockerfileCommandsParams{
			Env: map[string]string{"WORD": word}, Secrets: []*modal.Secret{secret},
		}).DockerfileCommands([]string{"ENV KEPT=kept", "COPY --from=tools:1 /bin/sh /copied"}, nil)
		equal(said(t, image, "cat /said; echo $KEPT ${WORD:-gone}; test -s /copied && echo copied"), word+"-x\nkept gone\ncopied\n")
	}
}

func forcedBuild(t t) {
	build := func(force bool) string {
		image := tools(t).DockerfileCommands([]string{"RUN cat /proc/sys/kernel/random/uuid >/go-made"}, &modal.ImageDockerfileCommandsParams{ForceBuild: force})
		return said(t, image, "cat /go-made")
	}
	first := build(false)
	equal(build(false), first)
	second := build(true)
	if second == first {
		fail("it was not built again")
	}
	equal(build(false), second)
}

func unbuildable(t t) {
	commands := []string{"RUN true"}
	refused(t, tools(t).DockerfileCommands(commands, &modal.ImageDockerfileCommandsParams{GPU: "T4"}), "Image builds with a GPU are not supported")
	refused(t, tools(t).DockerfileCommands([]string{"RUN echo why; exit 3"}, nil), "exit 3")
}

func published(t t) {
	image := must(tools(t).DockerfileCommands([]string{"RUN echo published >/said"}, nil).Build(t.ctx, t.app, nil))
	check(image.Publish(t.ctx, "go-published:1", nil))
	named := must(t.client.Images.FromName(t.ctx, "go-published:1", nil))
	equal(named.ImageID, image.ImageID)
	further := must(t.client.Images.FromID(t.ctx, image.ImageID, nil)).DockerfileCommands([]string{"RUN echo more >>/said"}, nil)
	equal(said(t, further, "cat /said"), "published\nmore\n")
	check(t.client.Images.Delete(t.ctx, image.ImageID, nil))
	_, err := t.client.Images.FromName(t.ctx, "go-published:1", nil)
	raised[modal.NotFoundError](err)
	_, err = t.client.Images.FromID(t.ctx, image.ImageID, nil)
	raised[modal.NotFoundError](err)
	raised[modal.NotFoundError](t.client.Images.Delete(t.ctx, image.ImageID, nil))
}

func privateRegistries(t t) {
	secret := func(keys map[string]string) *modal.Secret {
		return must(t.client.Secrets.FromMap(t.ctx, keys, nil))
	}
	login := secret(map[string]string{"REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": "secret"})
	google := secret(map[string]string{"SERVICE_ACCOUNT_JSON": `{"type": "service_account"}`})
	key := map[string]string{"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "key"}
	images, name := t.client.Images, os.Getenv("REGISTRY")+"/team/app:1"
	refused(t, images.FromRegistry(name, nil), "access was denied")
	refused(t, images.FromAwsEcr(name, secret(key), nil), "The registry secret has no AWS_REGION")
	key["AWS_REGION"] = "eu-west-1"
	must(images.FromRegistry(name, &modal.ImageFromRegistryParams{Secret: login}).Build(t.ctx, t.app, nil))
	must(images.FromGcpArtifactRegistry(os.Getenv("GOOGLE_REGISTRY")+"/team/app:1", google, nil).Build(t.ctx, t.app, nil))
	must(images.FromAwsEcr(os.Getenv("AMAZON_REGISTRY")+"/team/app:1", secret(key), nil).Build(t.ctx, t.app, nil))
}
