"""Commands in the documents that are not run as they stand, each with its reason."""

from __future__ import annotations

ITSELF = "it runs this very test"
WHEEL = "tests/packaging/test_wheel.py takes it from the page and runs it"
CI = "CI runs it in front of the tests"
HOURS = "it takes minutes to hours; its parts have tests of their own: "

# What is not run.
NOT_RUN = {
    "make test": ITSELF,
    "make check": ITSELF,
    "make site": CI,
    "make deb": "made in front of the tests; tests/packaging installs what it makes",
    "make wheel": "made in front of the tests; tests/packaging installs what it makes",
    "make demo": "tests/testbed/test_demo.py sees every step of it",
    "make docs": "tests/test_documents.py holds what it writes against what is there",
    "make scenarios": "it rewrites what tests/scenarios holds the code against",
    "make sim": "`make check` runs it, tests/sim tests what it does",
    "make bench": f"{HOURS}tests/bench",
    "make performance": "it rewrites a page by what `make bench` measured; tests/bench/test_document.py",
    'make bench BENCH_ARGS="--runs 5"': f"{HOURS}tests/bench",
    "python -m bench --only ddhcp --only kea-2 --runs 5": f"{HOURS}tests/bench",
    "python -m bench --clients 10000 --window 256": f"{HOURS}tests/bench",
    "python -m bench --avalanche 0 --no-node": f"{HOURS}tests/bench",
    "make compiled": "a compiler's minutes, and a C compiler is needed",
    "make test-compiled": "a compiler's minutes, and a C compiler is needed",
    "DDHCP_COMPILE=1 pip install .": "a compiler's minutes, and a C compiler is needed",
    "make evaluation": f"{HOURS}tests/sim",
    "make fuzz": f"{HOURS}tests/fuzz",
    'make fuzz FUZZ_ARGS="--minutes 30 session"': f"{HOURS}tests/fuzz",
    "make flood": f"{HOURS}tests/netns/test_flood.py",
    "make soak": f"{HOURS}tests/testbed/test_soak.py",
    "make kill-test": f"{HOURS}tests/bench/test_kills.py",
    "./network-test lifecycle": "it takes two minutes; the page that tells of it runs it for less",
    "python -m bench.seal": "tests/bench/test_seal.py",
    "python -m bench.simulator": "it simulates for minutes; tests/sim run what it measures",
    "apt install make python3-venv iproute2 isc-dhcp-client": "what the machine that runs the tests starts from",
    "systemctl edit ddhcp@mesh": "it opens an editor",
    "./network-test ctl 0 top": "it stays until a key is pressed; tests/ctl/test_ctl_commands.py does",
    "git diff": "it shows what the reader has changed",
    "pipx install './ddhcp-0.1.0-py3-none-any.whl[http]'": WHEEL,
    "uv tool install './ddhcp-0.1.0-py3-none-any.whl[http]'": WHEEL,
    "unbound-control reload_keep_cache": "Debian's unbound starts a server on port 53 when it is installed",
}

MESH = (
    "ddhcp -c br-client -i bat0 -N 10.0.128.0/17 -b 2 -t 15 -B 240 -o 3:4:10.0.128.1 -o 6:4:10.0.128.1 -o 51:4:0.0.1.44"
)

# What is run in a shorter form, or so that it ends.
RUN_INSTEAD = {
    "ddhcp-sim --seeds 1000 --jobs 4": "ddhcp-sim --seeds 2 --jobs 2",
    "ddhcp-sim --scenario all": "ddhcp-sim --scenario S1",
    # Without a remedy runs fail, which is what one is to see.
    "ddhcp-sim --seeds 50 --without promise": "! ddhcp-sim --seeds 2 --without promise",
    "curl -N http://127.0.0.1:8067/api/v1/events/stream": (
        "curl --fail --max-time 1 -N http://127.0.0.1:8067/api/v1/events/stream || [ $? = 28 ]"  # the time is over
    ),
    MESH: MESH.replace("ddhcp ", "ddhcp -d -C /run/ddhcp/second.sock --pid-file /run/ddhcp/second.pid --store memory "),
    # In a terminal of their own they stay in the foreground.
    "./network-test srv-start 0 ./ddhcp -t 3": "./network-test srv-start 0 ./ddhcp -d -L -t 3",
    "./network-test srv-start 1 ./ddhcp -t 3": "./network-test srv-start 1 ./ddhcp -d -L -t 3",
    "dhclient -sf /dev/null -d -v clt0": "dhclient -1 -sf /dev/null -v clt0",
    "./network-test lifecycle --seconds 120": "./network-test lifecycle --seconds 2",
}
