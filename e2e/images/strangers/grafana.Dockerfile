# backend
FROM base

WORKDIR $GOPATH/src/board

COPY go.mod go.sum ./
COPY vendor vendor
RUN go mod verify
COPY pkg pkg
RUN mkdir bin && go build -o bin/board-server && go build -o bin/board-cli

# frontend
FROM base

WORKDIR /usr/src/app/
COPY package.json yarn.lock ./
RUN yarn install --pure-lockfile --no-progress
COPY public public
ENV NODE_ENV production
RUN echo "$NODE_ENV" > public/build

FROM base

LABEL maintainer="A team <team@example.com>"

ARG UID="472"
ARG GID="472"

ENV PATH=/usr/share/board/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PATHS_CONFIG="/etc/board/board.ini" \
    PATHS_DATA="/var/lib/board" \
    PATHS_HOME="/usr/share/board"

WORKDIR $PATHS_HOME

RUN apt-get update && apt-get upgrade -y && \
    apt-get install -qq -y ca-certificates && \
    rm -rf /var/lib/apt/lists/*

COPY conf ./conf

RUN mkdir -p "$PATHS_HOME/.aws" /etc/board && \
    groupadd -r -g $GID board && \
    useradd -r -u $UID -g board board && \
    mkdir -p "$PATHS_DATA" \
             "$PATHS_DATA/plugins" && \
    cp "$PATHS_HOME/conf/sample.ini" "$PATHS_CONFIG" && \
    chown -R board:board "$PATHS_DATA" "$PATHS_HOME/.aws" && \
    chmod 777 -R "$PATHS_DATA"

COPY --from=0 /src/board/bin/board-server /src/board/bin/board-cli ./bin/
COPY --from=1 /usr/src/app/public ./public

EXPOSE 3000

COPY ./packaging/run.sh /run.sh
#USER board
ENTRYPOINT [ "/run.sh" ]
