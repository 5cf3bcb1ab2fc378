/* What the compiled hot paths of all layers share: attributes that are slots, and the numbers in them.

   Attributes are slots. Their places are looked up once, by name, from the classes' own descriptors; each object's
   class is checked before its slots are touched.

   Included by each `_compiled.c`; hatch_build.py compiles them. */

#ifndef MSGLOG_COMPILED_H
#define MSGLOG_COMPILED_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <structmember.h>

#ifdef Py_GIL_DISABLED
#error "the interpreter's lock keeps what is done here in one piece"
#endif

static int find_slot(PyTypeObject *type, const char *name, Py_ssize_t *place) {
    PyObject *descriptor = PyObject_GetAttrString((PyObject *)type, name);
    if (descriptor == NULL) return -1;
    if (!Py_IS_TYPE(descriptor, &PyMemberDescr_Type)
        || ((PyMemberDescrObject *)descriptor)->d_member->type != T_OBJECT_EX) {
        PyErr_Format(PyExc_TypeError, "%s of %s is no slot", name, type->tp_name);
        Py_DECREF(descriptor);
        return -1;
    }
    *place = ((PyMemberDescrObject *)descriptor)->d_member->offset;
    Py_DECREF(descriptor);
    return 0;
}

#define SLOT(object, place) (*(PyObject **)((char *)(object) + (place)))

/* Set a slot whose old value is an int, None, or held elsewhere, too: giving it up runs no other code. */
static void set_slot(PyObject *object, Py_ssize_t place, PyObject *value) {
    PyObject *old = SLOT(object, place);
    SLOT(object, place) = Py_NewRef(value);
    Py_XDECREF(old);
}

/* Return a slot's number, -1 if it is none that counts anything: none of those here is negative. */
static long long number_in(PyObject *object, Py_ssize_t place) {
    PyObject *value = SLOT(object, place);
    if (value == NULL || !PyLong_CheckExact(value)) return -1;
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow ? -1 : number;
}

#endif
