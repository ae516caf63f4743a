#!/bin/sh
# Other people's programs against `limn serve`: tests/http/run.sh BUILD [WORD]. Prints as tests/run.sh does. Packages are fetched once, into
# BUILD/web-tests; what cannot be fetched is skipped. LIMN_CHROMIUM: the browser.
set -u
cd "$(dirname "$0")/../.."
build=$(cd "$1" && pwd) word=${2:-} place=$(cd "$1" && pwd)/web-tests
mkdir -p "$place"
log=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null
    wait 2>/dev/null
    rm -rf "$log"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
passed=0 failed=0 skipped=0

skip() {
    echo "[  SKIPPED ] $1: $2"
    skipped=$((skipped + 1))
}
# run NAME COMMAND...: counts what it says
run() {
    name=$1
    shift
    timeout 600 "$@" >"$log/out" 2>&1
    status=$?
    ok=$(grep -c '^\[       OK \]' "$log/out")
    no=$(grep -c '^\[  FAILED  \]' "$log/out")
    [ "$status" = 0 ] || [ "$no" -gt 0 ] || no=1
    [ "$((ok + no))" -gt 0 ] || no=1
    [ "$no" = 0 ] || tail -n 80 "$log/out"
    printf '%-40s %s passed, %s failed\n' "$name" "$ok" "$no"
    passed=$((passed + ok)) failed=$((failed + no))
}
# start [OPTION...]: a server with fresh folders on a free port; its address is $address
start() {
    [ -z "$server" ] || { kill "$server"; wait "$server"; }
    rm -rf "$log/base" "$log/address"
    "$build/limn" serve --base-directory "$log/base" --port 0 --quiet "$@" >"$log/address" 2>"$log/errors" &
    server=$!
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        [ -s "$log/address" ] && break
        sleep 0.2
    done
    address=$(sed -n 's|^http://\(.*\)/$|\1|p' "$log/address")
    [ -n "$address" ] || { cat "$log/errors"; exit 1; }
    export LIMN_ADDRESS="$address"
}
wanted() {
    case $1 in *"$word"*) return 0 ;; esac
    return 1
}

node=no
if command -v npm >/dev/null 2>&1; then
    if cmp -s tests/http/package.json "$place/package.json" && [ -d "$place/node_modules/ws" ]; then
        node=yes
    elif cp tests/http/package.json "$place/" && (cd "$place" && npm install --no-audit --no-fund --ignore-scripts >"$log/npm" 2>&1); then
        node=yes
    fi
fi
# node looks for packages beside the file
rm -rf "$place/programs"
mkdir -p "$place/programs"
cp tests/http/*.mjs "$place/programs/"

if wanted clients; then
    if [ "$node" = yes ]; then
        start
        run http_clients node "$place/programs/clients.mjs"
    else
        skip clients "no npm, or the packages cannot be fetched"
    fi
fi

browser=${LIMN_CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)}
for version in 1.27.10 1.58.1; do
    wanted "front_end_$version" || wanted "front_end_users_$version" || continue
    page=$place/front-end-$version
    if [ ! -f "$page/index.html" ] && command -v pip3 >/dev/null 2>&1; then
        (cd "$log" && pip3 download --quiet --no-deps "comfyui_frontend_package==$version" >/dev/null 2>&1 && mkdir -p wheel &&
            python3 -m zipfile -e comfyui_frontend_package-"$version"-*.whl wheel && rm -rf "$page" && mv wheel/comfyui_frontend_package/static "$page")
        rm -rf "$log/wheel"
    fi
    if [ "$node" = yes ] && [ -n "$browser" ] && [ -f "$page/index.html" ]; then
        own=
        [ "$version" = 1.27.10 ] || own=yes
        for users in "" _users; do
            wanted "front_end${users}_$version" || continue
            start --front-end "$page" ${users:+--users}
            run "front_end${users}_$version" env LIMN_OWN_FLOW="$own" LIMN_USERS="$users" LIMN_CHROMIUM="$browser" \
                LIMN_SHOT="$place/front-end$users-$version.png" node "$place/programs/front_end.mjs"
        done
    else
        skip "front_end_$version" "no npm, no Chromium, or the package cannot be fetched"
    fi
done

if wanted page; then
    if [ "$node" = yes ] && [ -n "$browser" ] && [ -f "$build/web/index.html" ]; then
        start
        run page env LIMN_CHROMIUM="$browser" LIMN_PAGE="$build/web" LIMN_SHOTS="$place" node "$place/programs/page.mjs"
    else
        skip page "no npm, no Chromium, or the page is not built (make web)"
    fi
fi

if wanted schema; then
    if [ ! -x "$place/python/bin/schemathesis" ] && command -v python3 >/dev/null 2>&1; then
        python3 -m venv "$place/python" >/dev/null 2>&1 && "$place/python/bin/pip" install --quiet schemathesis==4.32.5 >"$log/pip" 2>&1
    fi
    if [ -x "$place/python/bin/schemathesis" ]; then
        start
        timeout 900 sh tests/http/schema.sh "$place/python/bin/schemathesis" "$address" "${LIMN_SCHEMA_EXAMPLES:-10}" >"$log/schema" 2>&1
        if [ $? = 0 ]; then
            echo "[       OK ] answers are what openapi.json says"
            passed=$((passed + 1))
        else
            tail -n 120 "$log/schema"
            echo "[  FAILED  ] answers are what openapi.json says"
            failed=$((failed + 1))
        fi
    else
        skip schema "schemathesis cannot be fetched"
    fi
fi

printf '%s passed, %s failed%s\n' "$passed" "$failed" "$([ "$skipped" = 0 ] || echo ", $skipped skipped")"
[ "$failed" = 0 ]
