#!/bin/sh
# schemathesis against /openapi.json: requests made from the schema, good and bad; no answer may be a server's error, and each must be
# of a status, a type and a form that the schema names. Routes that draw are left out: most of what they would be sent takes hours. schema.sh SCHEMATHESIS ADDRESS [EXAMPLES]
# It leaves a cache where it runs: in a folder that is removed.
set -u
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
"$1" run "http://$2/openapi.json" --max-examples "${3:-10}" --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --exclude-path-regex '^/(v1/images/|sdapi/v1/(txt2img|img2img))' --request-timeout 60 --suppress-health-check=all --seed "${LIMN_SCHEMA_SEED:-1}"
