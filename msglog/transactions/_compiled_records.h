/* What the compiled parts of a transaction share: the classes by which they look into objects, and packed records.

   Included by `_compiled_collecting.c` and `_compiled_deciding.c`. */

#ifndef MSGLOG_COMPILED_RECORDS_H
#define MSGLOG_COMPILED_RECORDS_H

#include "_compiled.h"

#define FIND(class, name) find_slot(class.type, #name, &class.name)

#define AT(class, object, name) SLOT(object, class.name)
#define HOLDS(class, object, name, other) holds(object, class.name, other)

static struct {
    PyTypeObject *type;
    Py_ssize_t count, data, kind, max_timestamp_ms, span, timestamp_ms, value_bytes;
} Body;

static PyObject *kind_plain, *kind_keyed, *one;

enum { KEY_SIZE = 4 /* the length before a key */ };

static int find_body_slots(void) {
    return FIND(Body, count) || FIND(Body, data) || FIND(Body, kind) || FIND(Body, max_timestamp_ms) || FIND(Body, span)
        || FIND(Body, timestamp_ms) || FIND(Body, value_bytes);
}

static int make_record_constants(void) {
    one = PyLong_FromLong(1);
    return one != NULL;
}

/* Return a list of one. */
static PyObject *list_of(PyObject *item) {
    PyObject *list = PyList_New(1);
    if (list != NULL) PyList_SET_ITEM(list, 0, Py_NewRef(item));
    return list;
}

/* Return one record packed, as `encode_one` does. */
static PyObject *pack_one(PyObject *value, PyObject *key, PyObject *now_ms) {
    PyObject *data, *value_bytes = PyLong_FromSsize_t(PyBytes_GET_SIZE(value));
    if (key == Py_None)
        data = Py_NewRef(value);
    else {
        Py_ssize_t size = PyBytes_GET_SIZE(key);
        data = PyBytes_FromStringAndSize(NULL, KEY_SIZE + size + PyBytes_GET_SIZE(value));
        if (data != NULL) {
            char *at = PyBytes_AS_STRING(data);
            for (int byte = 0; byte < KEY_SIZE; byte++) at[byte] = (char)(size >> 8 * byte);
            memcpy(at + KEY_SIZE, PyBytes_AS_STRING(key), size);
            memcpy(at + KEY_SIZE + size, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
        }
    }
    PyObject *body = data == NULL || value_bytes == NULL ? NULL : Body.type->tp_alloc(Body.type, 0);
    if (body != NULL) {
        AT(Body, body, data) = Py_NewRef(data);
        AT(Body, body, count) = Py_NewRef(one);
        AT(Body, body, span) = Py_NewRef(one);
        AT(Body, body, kind) = Py_NewRef(key == Py_None ? kind_plain : kind_keyed);
        AT(Body, body, timestamp_ms) = Py_NewRef(now_ms);
        AT(Body, body, max_timestamp_ms) = Py_NewRef(now_ms);
        AT(Body, body, value_bytes) = Py_NewRef(value_bytes);
    }
    Py_XDECREF(data);
    Py_XDECREF(value_bytes);
    return body;
}

#endif
