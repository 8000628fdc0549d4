# escape=`

ARG REPO=base

FROM base:1 AS installer

RUN sh -c " `
        set -e; `
        preference='Stop'; `
        `
        mkdir /sdk /git; `
        # a comment in the middle
        echo version > /sdk/version; `
        echo $'it\'s' | grep -q it; `
        echo git\ > /git/README"

FROM $REPO:1-slim

ENV `
    # nothing at the first run
    NOLOGO=true `
    SDK_VERSION=8.0.419 `
    PLACE=C:\Programs\sdk `
    CHANNEL=Docker-1809

USER node
RUN echo "%PATH%;$PLACE" > /tmp/path
USER root

COPY --from=installer ["/sdk", "/Program Files/sdk"]
COPY --from=installer ["/git", "/Program Files/git"]

RUN cat "/Program Files/sdk/version"
WORKDIR /Program` Files
