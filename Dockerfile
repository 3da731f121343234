# imaseg in a container: docker build -t imaseg . && docker run --rm -v "$PWD:/data" imaseg --help
# With a GPU: docker run --gpus all ...; the command then finds it by itself.
FROM python:3.11-slim

WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY imaseg imaseg
COPY configs configs
COPY data_prep data_prep
# More arguments of pip, such as another index: --build-arg PIP_ARGUMENTS="--extra-index-url ..."
ARG PIP_ARGUMENTS=""
RUN python -m pip install --no-cache-dir $PIP_ARGUMENTS --constraint constraints.txt ".[dicom]" \
    && useradd --create-home --uid 1000 imaseg

USER 1000
WORKDIR /data
ENTRYPOINT ["imaseg"]
CMD ["--help"]
