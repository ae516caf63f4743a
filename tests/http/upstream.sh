#!/bin/sh
# ComfyUI's own tests against `limn serve --test-nodes`, as they are: tests/http/upstream.sh BUILD CHECKOUT [PYTEST-ARGUMENT...]. CHECKOUT is a
# copy of ComfyUI that the caller has; nothing of it is changed or kept. Without arguments for pytest: the tests that speak to a server.
# The tests start `python main.py ...`: here that is limn, with fresh folders. Of torch they want no more than a function that does nothing.
# LIMN_BUSY=yes: others work on this machine, so claims about seconds are left out.
set -u
here=$(cd "$(dirname "$0")" && pwd) build=$(cd "$1" && pwd) checkout=$(cd "$2" && pwd)
shift 2
place=$build/web-tests
mkdir -p "$place"
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

python=$place/python/bin/python3
if ! "$python" -c 'import aiohttp, numpy, PIL, pytest, pytest_asyncio, requests, websocket' 2>/dev/null; then
    python3 -m venv "$place/python" && "$place/python/bin/pip" install --quiet aiohttp numpy pillow pytest pytest-asyncio requests websocket-client || exit 1
fi
mkdir "$log/bin" "$log/lib" "$log/output"
cat >"$log/lib/torch.py" <<'END'
class cuda:
    empty_cache = staticmethod(lambda: None)
END
cat >"$log/bin/python" <<'END'
#!/bin/sh
options=
shift # main.py
while [ $# -gt 0 ]; do
    case $1 in
    --output-directory|--listen|--port) options="$options $1 $2"; shift ;;
    --extra-model-paths-config) options="$options --extra-model-paths $2"; shift ;;
    --cache-classic) options="$options --cache classic" ;;
    --cache-lru) [ "$2" = 0 ] || options="$options --cache recent --cache-results $2"; shift ;;
    --cache-none) options="$options --cache none" ;;
    --cpu) ;;
    *) echo "limn knows no $1" >&2; exit 2 ;;
    esac
    shift
done
exec "$LIMN" serve --test-nodes --quiet --base-directory "$(mktemp -d "$LIMN_LOG/base.XXXXXX")" $options
END
chmod +x "$log/bin/python"
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export LIMN="$build/limn" LIMN_LOG="$log" PATH="$log/bin:$PATH" PYTHONDONTWRITEBYTECODE=1
echo "ComfyUI $(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$checkout/comfyui_version.py")"
there() {
    for file; do
        [ ! -f "$checkout/$file" ] || echo "$file"
    done
}
# ask OPTION...: pytest in the checkout
ask() {
    (cd "$checkout" && "$python" -m pytest -p no:cacheprovider -q -rfE --disable-warnings "$@") || failed=1
}
failed=0
if [ $# -gt 0 ]; then
    PYTHONPATH=$log/lib ask --output_dir "$log/output" --port "$port" "$@"
else
    PYTHONPATH=$log/lib ask --output_dir "$log/output" --port "$port" ${LIMN_BUSY:+--skip-timing-checks} $(there tests/execution/test_execution.py tests/execution/test_async_nodes.py \
        tests/execution/test_progress_isolation.py tests/execution/test_public_api.py)
    PYTHONPATH=$here ask --noconftest -p upstream_plugin --basetemp "$log/pytest" -k "not Structural and not internal_api" \
        $(there tests-unit/prompt_server_test/user_manager_test.py tests-unit/prompt_server_test/system_user_endpoint_test.py \
        tests-unit/security_test/test_ghsa_779p_04_userdata_xss.py \
        tests-unit/assets_test/test_prompt_id_enforcement.py)
fi
exit $failed
