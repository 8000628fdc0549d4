FROM base:1-slim AS base

FROM base AS deps
RUN apk add --no-cache libc6-compat
WORKDIR /app
# whichever there is
COPY package.json yarn.lock* package-lock.json* pnpm-lock.yaml* ./
RUN \
  if [ -f yarn.lock ]; then exit 1; \
  elif [ -f package-lock.json ]; then npm ci; \
  elif [ -f pnpm-lock.yaml ]; then exit 2; \
  else echo "Lockfile not found." && exit 3; \
  fi


FROM base AS builder
WORKDIR /app
COPY --from=deps /app/node_modules ./node_modules
COPY . .
# ENV TELEMETRY_DISABLED 1
RUN mkdir -p .next/standalone .next/static && echo server > .next/standalone/server.js && echo css > .next/static/a.css

FROM base AS runner
WORKDIR /app

ENV NODE_ENV production
RUN addgroup --system --gid 1101 nodejs
RUN adduser --system --uid 1101 nextjs

COPY --from=builder /app/public ./public
RUN mkdir .next
RUN chown nextjs:nodejs .next
COPY --from=builder --chown=nextjs:nodejs /app/.next/standalone ./
COPY --from=builder --chown=nextjs:nodejs /app/.next/static ./.next/static

USER nextjs

EXPOSE 3000

ENV PORT 3000
ENV HOSTNAME "0.0.0.0"

CMD ["node", "server.js"]
