# The site and the hub, as an installed wheel; the same command as in the Procfile.
#
#   docker build -t fanfare . && docker run -p 8000:8000 -e FANOUT_KEY=… -e SITE_SECRET=… -e SITE_URL=… fanfare

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --constraint constraints.txt --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
RUN useradd --system --create-home --home-dir /var/lib/fanfare fanfare
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels fanfare
USER fanfare
WORKDIR /var/lib/fanfare
# What is made and kept where no database is named: back it up, or name one.
VOLUME /var/lib/fanfare
ENV HOST=0.0.0.0 PORT=8000 HUB_VAR=/var/lib/fanfare PYTHONUNBUFFERED=1
EXPOSE 8000
# Not /ready: a container that is killed because Redis is away is no help.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD \
    ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=4)"]
# The parent waits for its workers on SIGTERM, for HUB_DRAIN_TIMEOUT and five seconds more.
STOPSIGNAL SIGTERM
ENTRYPOINT ["fanfare"]
CMD ["serve", "--no-demo"]
