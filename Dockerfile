# An image with only the gateway: one file, without node_modules, run by a user who is not root.
#   docker build -t workspace-gateway .        or        buildah build --isolation chroot -t workspace-gateway .
# The keeper of terminals is the same image with another command, "terminals", as a container of its own: replacing the
# gateway's container then ends no shell. Both mount one volume at /run/workspace, for the keeper's socket (docs/terminals.md).
# The vault is the same image too: command "vault", user "vault", a volume at /data/vault, and the one at /run/workspace. Its doors
# there are for the agents coder (uid 1001) and ops (1002), VAULT_AGENTS=coder:1001,ops:1002; the gateway's container gets
# GATEWAY_VAULT_SOCKETS=/run/workspace/vault (docs/vault.md).
# So is the link to a relay (docs/relay.md): command "link", user "gateway" as of the gateway itself, because it opens the gateway's
# socket, the volume at /run/workspace, and one of its own at /data/gateway/link. It gets LINK_RELAY_URL, GATEWAY_WORKSPACE,
# GATEWAY_DOMAIN and GATEWAY_LINK_SOCKET=/run/workspace/link.sock, and none of the gateway's secrets; the gateway's container gets
# that socket too, and GATEWAY_LINK_OWNER_SOCKET=/run/workspace/link-owner.sock.
# A relay is the image with the command "relay", on another machine, with its port 7654 behind a proxy with a certificate, and no
# volume (examples/fly/relay.toml).
# The limits service is the image with the command "limits", beside the control plane, with LIMITS_TOKEN_FILE and a volume of its own at
# LIMITS_STATE_DIR that belongs to its user, or with LIMITS_STORE_URL_FILE and none (docs/limits.md). The health check below is the gateway's: give the other containers --no-healthcheck.
ARG BASE_IMAGE=docker.io/library/node:24-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json ./
# No install scripts run, so development tools add no programs of their own. The image's Node runs the build.
RUN npm ci --ignore-scripts
COPY tsconfig.json ./
COPY build build
COPY src src
COPY plugins plugins
COPY routes routes
RUN npm run build

FROM ${BASE_IMAGE}
# Lets a process that is not root listen on port 80. Docker allows that anyway; a Fly machine does not.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libcap2-bin \
 && setcap cap_net_bind_service=+ep "$(readlink -f "$(command -v node)")" \
 && apt-get purge -y --auto-remove libcap2-bin \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --home-dir /app --shell /usr/sbin/nologin gateway \
 && useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin vault \
 && useradd --uid 1001 --home-dir /nonexistent --shell /usr/sbin/nologin coder \
 && useradd --uid 1002 --home-dir /nonexistent --shell /usr/sbin/nologin ops \
 && install -d -m 700 -o gateway -g gateway /data/gateway /app/compile-cache \
 && install -d -m 711 -o gateway -g gateway /run/workspace \
 && install -d -m 700 -o vault -g vault /data/vault \
 && install -d -m 711 -o vault -g vault /run/workspace/vault \
 && install -d -m 2750 -o vault -g gateway /run/workspace/vault/owner \
 && install -d -m 2750 -o vault -g coder /run/workspace/vault/coder \
 && install -d -m 2750 -o vault -g ops /run/workspace/vault/ops
WORKDIR /app
COPY LICENSE ./
COPY --from=build /build/dist/workspace-gateway.cjs ./
COPY --from=build /build/dist/remote remote
USER gateway
# The image contains V8's compile cache, so that a start of the gateway does not compile the code again.
ENV NODE_COMPILE_CACHE=/app/compile-cache
RUN GATEWAY_WORKSPACE=image GATEWAY_JWT_SECRET="$(head -c 32 /dev/urandom | base64)" GATEWAY_HOST=127.0.0.1 \
    GATEWAY_PORT=0 GATEWAY_STATE_DIR="$(mktemp -d)" timeout --preserve-status 3 node workspace-gateway.cjs serve
EXPOSE 80
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=2s --start-period=5s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.GATEWAY_PORT ?? 80}/health`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "workspace-gateway.cjs"]
CMD ["serve"]
