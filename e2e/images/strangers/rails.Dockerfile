# syntax = docker/dockerfile:1

# As in .ruby-version
ARG RUBY_VERSION=1
FROM base:$RUBY_VERSION-slim as base

WORKDIR /rails

ENV RAILS_ENV="production" \
    BUNDLE_PATH="vendor/bundle"

ARG BUNDLER_VERSION=2.4
RUN gem update --system --no-document && \
    gem install -N bundler -v ${BUNDLER_VERSION}


# thrown away
FROM base as build

RUN apt-get update -qq && \
    apt-get install --no-install-recommends -y build-essential

ENV PATH=/usr/local/node/bin:$PATH

COPY Gemfile Gemfile.lock ./
RUN bundle _${BUNDLER_VERSION}_ install && \
    echo "_${BUNDLER_VERSION}_" > bundler

COPY package.json yarn.lock .
RUN yarn install

COPY . .

RUN chmod +x bin/* && \
    sed -i "s/\r$//g" bin/* && \
    sed -i 's/ruby\.exe$/ruby/' bin/*

RUN SECRET_KEY_BASE_DUMMY=1 ./bin/rails assets:precompile


# the image
FROM base

RUN rm -rf /var/lib/apt/lists /var/cache/apt/archives

RUN useradd rails
USER rails:rails

COPY --from=build --chown=rails:rails /rails /rails

ENTRYPOINT ["/rails/bin/docker-entrypoint"]

EXPOSE 3000
CMD ["./bin/rails", "server"]
