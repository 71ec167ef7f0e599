# docker build -t sslkuramoto .
# docker run --rm -v "$PWD/runs:/sslkuramoto/runs" sslkuramoto train digits-akorn-simsiam --run runs/simsiam
# The build argument names a package index with builds of torch for CPUs only (much smaller; see torch's install page):
#   docker build --build-arg PIP_EXTRA_INDEX_URL=ADDRESS -t sslkuramoto .
FROM python:3.12-slim

ARG PIP_EXTRA_INDEX_URL=""

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY sslkuramoto sslkuramoto
COPY recipes recipes
COPY eval eval
RUN PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL" pip install --no-cache-dir . && rm -rf /src

RUN useradd --create-home --uid 1000 user && mkdir -p /sslkuramoto/runs && chown -R user /sslkuramoto
USER user
WORKDIR /sslkuramoto
ENTRYPOINT ["sslkuramoto"]
CMD ["--help"]
