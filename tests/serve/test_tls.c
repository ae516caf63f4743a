/* HTTPS: a certificate made here, libcurl as the client. */
#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "client.h"
#include "site.h"
#include "test.h"

/* A key and a certificate of its own for 127.0.0.1 into the site's folder. */
static void make_certificate(const char *certificate, const char *key)
{
    EVP_PKEY *pair = EVP_RSA_gen(2048);
    X509 *x = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, pair);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"127.0.0.1", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    assert_true(X509_sign(x, pair, EVP_sha256()) > 0);
    FILE *f = fopen(certificate, "w");
    PEM_write_X509(f, x);
    fclose(f);
    f = fopen(key, "w");
    PEM_write_PrivateKey(f, pair, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(pair);
}

static size_t count_bytes(char *data, size_t size, size_t n, void *self)
{
    *(size_t *)self += size * n;
    return size * n;
}

/* GET over TLS, checked against the certificate; the status, and bytes of the body. */
static long fetch(const char *path, const char *certificate, size_t *bytes)
{
    char url[200];
    long status = 0;
    CURL *c = curl_easy_init();
    snprintf(url, sizeof url, "https://127.0.0.1:%d%s", site_port, path);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_CAINFO, certificate);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L); /* the name is not what is tested */
    curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 60L);
    *bytes = 0;
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, count_bytes);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, bytes);
    CURLcode failed = curl_easy_perform(c);
    if (!failed)
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(c);
    return failed ? -(long)failed : status;
}

TEST(https_carries_answers_small_and_large)
{
    struct err e = { 0 };
    size_t bytes;
    static char big[5000000];
    site_defaults();
    REQUIRE(folder_make(site_path(""), &e));
    char certificate[PATH_MAX_BYTES], key[PATH_MAX_BYTES];
    snprintf(certificate, sizeof certificate, "%s", site_path("cert.pem"));
    snprintf(key, sizeof key, "%s", site_path("key.pem"));
    make_certificate(certificate, key);
    site_write("output/big.png", big, sizeof big);
    site_options.certificate = certificate;
    site_options.key = key;
    site_options.head_seconds = 2;
    site_start();
    for (int i = 0; i < 3; i++)
        CHECK(fetch("/healthz", certificate, &bytes) == 200 && bytes == 15, "%zu bytes", bytes);
    long status = fetch("/view?filename=big.png", certificate, &bytes);
    CHECK(status == 200 && bytes == sizeof big, "status %ld, %zu bytes", status, bytes);
    /* plain HTTP, and one that says nothing, are closed */
    int plain = client_connect(site_port, 10), silent = client_connect(site_port, 10);
    char text[1000];
    bool closed;
    client_send(plain, "GET / HTTP/1.1\r\n\r\n", 18);
    client_read_all(plain, text, sizeof text, &closed);
    CHECK(closed && !strstr(text, "HTTP/1.1 200"), "%s", text);
    double start = clock_seconds();
    client_read_all(silent, text, sizeof text, &closed);
    CHECK(closed && clock_seconds() - start < 8, "a silent one is there after %.1f s", clock_seconds() - start);
    close(plain);
    close(silent);
    CHECK(fetch("/healthz", certificate, &bytes) == 200, "it still answers");
    site_stop();
}

TEST(files_that_are_no_certificate_are_refused)
{
    struct err e = { 0 };
    site_defaults();
    site_write("cert.pem", "rubbish", 7);
    site_options.certificate = site_path("cert.pem");
    CHECK_FAILS(server_start(&site_options, &e), ERR_ARG, "certificate");
}
