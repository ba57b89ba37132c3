# docker build -t portcullis:0.1.0 .
FROM node:24-trixie-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json ./
COPY scripts/build.ts scripts/bundle.ts scripts/bundled-licenses.ts scripts/image.ts scripts/keep-compiled.ts scripts/warm-up.ts scripts/
COPY lab lab
COPY src src
# Also runs the program once, and keeps beside it what V8 compiled: the same Node.js with the flags below takes that.
RUN node scripts/build.ts

# The same Debian as above, so that node finds the libraries it was linked with; without npm and the rest of that image.
FROM debian:trixie-slim
# netbase holds /etc/protocols, by which the tools print protocol names; nftables finds other engines and flowtables; ulogd2 reads denied packets.
RUN apt-get update \
    && apt-get install -y --no-install-recommends conntrack iproute2 ipset iptables libstdc++6 netbase nftables ulogd2-json \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/node /usr/local/bin/node
COPY --from=build /src/dist /opt/portcullis
COPY LICENSE /opt/portcullis/
# Small heaps keep the process small, and a small process starts the netfilter tools faster (docs/performance.md). What
# glibc gets back it gives back to the system at once.
ENV MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=8192 MALLOC_TRIM_THRESHOLD_=65536
ENTRYPOINT ["node", "--max-old-space-size=192", "--max-semi-space-size=1", "/opt/portcullis/portcullis.mjs"]
CMD ["agent"]
