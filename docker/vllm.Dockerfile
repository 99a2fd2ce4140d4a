# vLLM with this project's plugins: docker build -f docker/vllm.Dockerfile -t vckg-vllm . (linted, not built here)
FROM python:3.11-slim-bookworm AS wheel
WORKDIR /src
COPY . .
# hadolint ignore=DL3013
RUN pip install --no-cache-dir "build>=1.2" && python -m build --wheel --outdir /wheel . && python -m build --wheel --outdir /wheel draft

FROM vllm/vllm-openai:v0.32.0
COPY --from=wheel /wheel /wheel
# The wheel is the one built above.
# hadolint ignore=DL3013
RUN wheel="$(echo /wheel/vckg-*.whl)" \
 && pip install --no-cache-dir "${wheel}[vllm]" /wheel/vckg_draft-*.whl \
 && rm -r /wheel \
 && useradd --create-home --uid 1000 vckg
USER 1000
ENV HF_HUB_OFFLINE=1
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10m \
  CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
