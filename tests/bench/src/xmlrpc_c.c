/* Decodes the call on stdin with xmlrpc-c, or encodes it again, and prints how many seconds that took. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xmlrpc-c/base.h>

static char document[256 << 20];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void check(const xmlrpc_env *env) {
    if (env->fault_occurred) {
        fprintf(stderr, "xmlrpc-c: %s\n", env->fault_string);
        exit(1);
    }
}

int main(int count, char **arguments) {
    const char *method;
    xmlrpc_value *params;
    xmlrpc_env env;
    size_t length = fread(document, 1, sizeof document, stdin);
    double began = now();
    xmlrpc_env_init(&env);
    xmlrpc_limit_set(XMLRPC_XML_SIZE_LIMIT_ID, sizeof document);
    xmlrpc_parse_call(&env, document, length, &method, &params);
    check(&env);
    if (count > 1 && strcmp(arguments[1], "encode") == 0) {
        xmlrpc_mem_block *out = xmlrpc_mem_block_new(&env, 0);
        began = now();
        xmlrpc_serialize_call(&env, out, method, params);
        check(&env);
    }
    printf("%.9f\n", now() - began);
    return 0;
}
