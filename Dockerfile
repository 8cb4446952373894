# Trains as the README's first command does, on the CPU; it serves nothing and opens no port.
#
#   docker build -t edp_jax .
#   mkdir -p runs datasets && sudo chown 1000 runs datasets
#   docker run --rm -v "$PWD/runs:/home/edp/runs" \
#     -v "$PWD/datasets:/home/edp/.d4rl/datasets" edp_jax
#
# Everything after the image's name goes to experiments.main in place of the arguments below. The
# two folders on the host must be writable for the user 1000.
FROM python:3.11-slim

# MuJoCo is loaded by the simulators, and needs OpenGL's libraries even where nothing is drawn.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libegl1 libgl1 libosmesa6 \
    && rm -rf /var/lib/apt/lists/*

COPY . /source
RUN pip install --no-cache-dir "/source[simulators,plots,export]" -c /source/constraints.txt

RUN useradd --create-home --uid 1000 edp && install --directory --owner=edp /home/edp/runs \
    /home/edp/.d4rl /home/edp/.d4rl/datasets
USER edp
WORKDIR /home/edp
ENTRYPOINT ["python", "-m", "edp_jax.experiments.main"]
CMD ["--config=edp_td3", "--workdir=runs/first"]
