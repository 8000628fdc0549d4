# syntax=docker/dockerfile:1
# check=error=true

ARG RUBY_VERSION=1
ARG NODE_VERSION=1

FROM base:$RUBY_VERSION-slim AS base

WORKDIR /opt/desk

ENV RAILS_ENV="production" \
    BUNDLE_PATH="/usr/local/bundle" \
    BUNDLE_WITHOUT="test development"

RUN apt-get update -qq && \
    apt-get install --no-install-recommends -y curl && \
    rm -rf /var/lib/apt/lists /var/cache/apt/archives

FROM base:${NODE_VERSION} AS node
RUN mkdir -p /usr/local/lib/node_modules/pnpm && echo node > /usr/local/bin/node

FROM base AS build

ARG COMMIT_SHA

SHELL ["/bin/bash", "-o", "errexit", "-o", "pipefail", "-c"]

COPY Gemfile Gemfile.lock vendor ./

RUN mkdir -p "${BUNDLE_PATH}"/ruby/3.4/cache && touch "${BUNDLE_PATH}"/ruby/3.4/gem && \
    rm -rf ~/.bundle/ "${BUNDLE_PATH}"/ruby/*/cache

COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
COPY --from=node /usr/local/bin/node /usr/local/bin/

COPY package.json pnpm-lock.yaml ./
COPY .lint/package.json .lint/lib/ .lint/
RUN pnpm install --frozen-lockfile

COPY . .

RUN if [ -z "${COMMIT_SHA}" ]; then \
    echo "Error: the required build argument \$COMMIT_SHA is missing."; \
    exit 1; \
  fi; \
  COMMIT_SHA_SHORT=$(echo "${COMMIT_SHA}" | cut -c 1-8); \
  echo "$(tr -d '\n' < VERSION)-${COMMIT_SHA_SHORT}.docker" > VERSION; \
  echo 'Updated build information in VERSION:'; \
  cat VERSION

FROM base

ENV DB_HOST=desk-database \
    DB_PORT=5432 \
    DB_OPTIONS=?pool=50 \
    TRUSTED_PROXIES=127.0.0.1,::1

RUN groupadd --system --gid 1300 desk && \
  useradd --create-home --home /opt/desk --shell /bin/bash --uid 1300 --gid 1300 desk

COPY --chown=1300:1300 --from=build "${BUNDLE_PATH}" "${BUNDLE_PATH}"
COPY --chown=1300:1300 --from=build /opt/desk /opt/desk
RUN ln -s "/opt/desk/bin/docker-entrypoint" /docker-entrypoint.sh

USER 1300:1300
ENTRYPOINT ["/opt/desk/bin/docker-entrypoint"]

LABEL com.example.commands.console="bundle exec rails c"
