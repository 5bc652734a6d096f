/* C with xmlrpc-c. See README.md for the words. */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xmlrpc-c/base.h>
#include <xmlrpc-c/client.h>

static const char *url;

static void check(xmlrpc_env *env, const char *what) {
    if (env->fault_occurred) {
        fprintf(stderr, "%s: fault %d: %s\n", what, env->fault_code, env->fault_string);
        exit(1);
    }
}

/* Says `nil`, or that it is something else. */
static void nothing(xmlrpc_env *env, const char *word, const char *method, xmlrpc_value *value) {
    check(env, method);
    printf("%s=%s\n", word, xmlrpc_value_type(value) == XMLRPC_TYPE_NIL ? "nil" : "something");
    xmlrpc_DECREF(value);
}

static unsigned char *slurp(const char *path, size_t *length) {
    FILE *in = fopen(path, "rb");
    if (!in || fseek(in, 0, SEEK_END)) {
        perror(path);
        exit(1);
    }
    *length = (size_t)ftell(in);
    rewind(in);
    unsigned char *bytes = malloc(*length + 1);
    if (!bytes || fread(bytes, 1, *length, in) != *length) {
        perror(path);
        exit(1);
    }
    fclose(in);
    return bytes;
}

static int fault_of(const char *method, int has_sid) {
    xmlrpc_env env;
    xmlrpc_env_init(&env);
    xmlrpc_value *value =
        has_sid ? xmlrpc_client_call(&env, url, method, "(i)", (xmlrpc_int32)2147483646) : xmlrpc_client_call(&env, url, method, "()");
    int code = env.fault_occurred ? env.fault_code : 0;
    if (!env.fault_occurred) {
        xmlrpc_DECREF(value);
    }
    xmlrpc_env_clean(&env);
    return code;
}

static void cycle(xmlrpc_env *env, const char *dir, const char *ids) {
    nothing(env, "clean", "clean", xmlrpc_client_call(env, url, "clean", "()"));
    nothing(env, "setidstart", "setidstart", xmlrpc_client_call(env, url, "setidstart", "(I)", (xmlrpc_int64)atoll(ids)));
    xmlrpc_value *answer = xmlrpc_client_call(env, url, "sql_prepare", "()");
    check(env, "sql_prepare");
    xmlrpc_int32 sid = 0;
    xmlrpc_read_int(env, answer, &sid);
    check(env, "sid");
    xmlrpc_DECREF(answer);
    printf("sid=%s\n", sid > 0 ? "ok" : "wrong");

    char pattern[4096];
    snprintf(pattern, sizeof pattern, "%s/chunk-*", dir);
    glob_t found;
    if (glob(pattern, 0, NULL, &found)) {
        exit(1);
    }
    for (size_t at = 0; at < found.gl_pathc; at++) {
        size_t length;
        unsigned char *bytes = slurp(found.gl_pathv[at], &length);
        answer = xmlrpc_client_call(env, url, "sql_create", "(i6)", sid, bytes, length);
        check(env, "sql_create");
        xmlrpc_DECREF(answer);
        free(bytes);
    }
    globfree(&found);
    nothing(env, "finish", "sql_finish", xmlrpc_client_call(env, url, "sql_finish", "(i)", sid));
    nothing(env, "again", "sql_finish", xmlrpc_client_call(env, url, "sql_finish", "(i)", sid));

    answer = xmlrpc_client_call(env, url, "system.listMethods", "()");
    check(env, "system.listMethods");
    int known = 0;
    for (int at = 0; at < xmlrpc_array_size(env, answer); at++) {
        xmlrpc_value *item;
        const char *name;
        xmlrpc_array_read_item(env, answer, (unsigned)at, &item);
        xmlrpc_read_string(env, item, &name);
        check(env, "a name");
        known |= strcmp(name, "sql_create") == 0;
        free((void *)name);
        xmlrpc_DECREF(item);
    }
    xmlrpc_DECREF(answer);
    printf("methods=%s\n", known ? "ok" : "missing");
    printf("fault=%d\nunknown=%d\n", fault_of("sql_finish", 1), fault_of("no_such_method", 0));

    const char *text = "\xc3\xa9\xe6\xbc\xa2\xe5\xad\x97 <&> ]]>";
    answer = xmlrpc_client_call(env, url, "sync.echo", "(sidb{s:i})", text, (xmlrpc_int32)7, 1.5, (xmlrpc_bool)1, "a", (xmlrpc_int32)1);
    check(env, "sync.echo");
    const char *back;
    xmlrpc_int32 number, member;
    double real;
    xmlrpc_bool truth;
    xmlrpc_decompose_value(env, answer, "(sidb{s:i,*})", &back, &number, &real, &truth, "a", &member);
    check(env, "the echo");
    int same = strcmp(back, text) == 0 && number == 7 && real == 1.5 && truth && member == 1;
    printf("echo=%s\n", same ? "ok" : back);
    free((void *)back);
    xmlrpc_DECREF(answer);
}

static void diff(xmlrpc_env *env, const char *since, const char *path) {
    xmlrpc_value *answer = xmlrpc_client_call(env, url, "diff", "(s)", since);
    check(env, "diff");
    if (xmlrpc_value_type(answer) == XMLRPC_TYPE_NIL) {
        printf("diff=nil\n");
    } else {
        size_t length;
        const unsigned char *bytes;
        xmlrpc_read_base64(env, answer, &length, &bytes);
        check(env, "the diff");
        FILE *out = fopen(path, "wb");
        if (!out || fwrite(bytes, 1, length, out) != length || fclose(out)) {
            perror(path);
            exit(1);
        }
        free((void *)bytes);
        printf("diff=%zu\n", length);
    }
    xmlrpc_DECREF(answer);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        return 2;
    }
    url = argv[2];
    xmlrpc_env env;
    xmlrpc_env_init(&env);
    xmlrpc_limit_set(XMLRPC_XML_SIZE_LIMIT_ID, 64 << 20);
    xmlrpc_client_init2(&env, XMLRPC_CLIENT_NO_FLAGS, "conformance", "1", NULL, 0);
    check(&env, "the client");
    if (strcmp(argv[1], "cycle") == 0) {
        cycle(&env, argv[3], argv[4]);
    } else {
        diff(&env, argv[3], argv[4]);
    }
    xmlrpc_env_clean(&env);
    xmlrpc_client_cleanup();
    return 0;
}
