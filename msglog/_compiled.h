/* What the compiled hot paths of all layers share: attributes that are slots, the numbers in them, locks that are let
   go, and methods that stand in front of those of Python.

   Attributes are slots. Their places are looked up once, by name, from the classes' own descriptors; each object's
   class is checked before its slots are touched.

   Included by each `_compiled*.c`; hatch_build.py compiles them. */

#ifndef MSGLOG_COMPILED_H
#define MSGLOG_COMPILED_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <structmember.h>
#include <time.h>

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

/* Return a number, -1 if it is none that counts anything: none of those here is negative. */
static inline long long number_of(PyObject *value) {
    if (value == NULL || !PyLong_CheckExact(value)) return -1;
#if PY_VERSION_HEX < 0x030C0000
    /* Those of one digit and of two, as nearly all are: without a call. */
    const digit *digits = ((PyLongObject *)value)->ob_digit;
    if (Py_SIZE(value) == 1) return digits[0];
    if (Py_SIZE(value) == 2) return digits[0] | (long long)digits[1] << PyLong_SHIFT;
#else
    if (PyUnstable_Long_IsCompact((PyLongObject *)value)) return PyUnstable_Long_CompactValue((PyLongObject *)value);
#endif
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow ? -1 : number;
}

/* Return a slot's number, or -1. */
static long long number_in(PyObject *object, Py_ssize_t place) {
    return number_of(SLOT(object, place));
}

/* Whether a slot holds an object of exactly this class. */
static inline int holds(PyObject *object, Py_ssize_t place, PyTypeObject *type) {
    PyObject *value = SLOT(object, place);
    return value != NULL && Py_IS_TYPE(value, type);
}

/* Put classes where they belong: exactly `count` of them, in the order of the places. */
static inline int take_classes(PyObject *classes, PyTypeObject **const *places, Py_ssize_t count) {
    if (PyTuple_GET_SIZE(classes) != count) {
        PyErr_Format(PyExc_ValueError, "%zd classes", count);
        return -1;
    }
    for (Py_ssize_t place = 0; place < count; place++) {
        PyObject *class = PyTuple_GET_ITEM(classes, place);
        if (!PyType_Check(class)) {
            PyErr_Format(PyExc_TypeError, "%R is no class", class);
            return -1;
        }
        Py_XSETREF(*places[place], (PyTypeObject *)Py_NewRef(class));
    }
    return 0;
}

/* Make a tuple of a class that gives its fields names; the fields may be what failed to be made. */
static inline PyObject *new_tuple(PyTypeObject *type, int size, PyObject *const *fields) {
    for (int field = 0; field < size; field++)
        if (fields[field] == NULL) return NULL;
    PyObject *made = type->tp_alloc(type, size);
    for (int field = 0; made != NULL && field < size; field++) PyTuple_SET_ITEM(made, field, Py_NewRef(fields[field]));
    return made;
}

/* What came of trying it here. */
typedef enum { FAILED = -1, DONE, FOR_PYTHON } Outcome;

/* An exception that is on its way while something else has to be called. */
typedef struct {
    PyObject *type, *value, *trace;
} Error;

static inline Error set_aside(void) {
    Error error;
    PyErr_Fetch(&error.type, &error.value, &error.trace);
    return error;
}

/* Go on with it, unless what was called raised one itself. */
static inline int take_up(Error *error, PyObject *none) {
    if (none == NULL) {
        Py_XDECREF(error->type);
        Py_XDECREF(error->value);
        Py_XDECREF(error->trace);
        return -1;
    }
    Py_DECREF(none);
    PyErr_Restore(error->type, error->value, error->trace);
    return 0;
}

/* Let a lock go by what lets it go. */
static inline int let_go(PyObject *release, PyObject *const *args, size_t count) {
    Error error = set_aside();
    return take_up(&error, PyObject_Vectorcall(release, args, count, NULL));
}

/* Milliseconds since 1970: of the machine's clock read in place, or as a clock tells them, which may run other code. */
static inline PyObject *read_clock(PyObject *system_time, PyObject *now_ms) {
    struct timespec now;
    if (system_time != Py_True || clock_gettime(CLOCK_REALTIME, &now) != 0 || now.tv_sec < 0)
        return PyObject_CallNoArgs(now_ms);
    return PyLong_FromLongLong((long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

/* A method of a class that does what nearly every call does, and leaves all else to the method of Python that stood
   there. It is bound as a function is, and passes for that one wherever methods are looked at instead of called: by
   `inspect`, and by `unittest.mock`, whose autospecs know functions by their class and check calls by their signature.
   So it can be pickled, copied, and referred to weakly, too. */
typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *python, *weak_references;
} Way;

static inline PyObject *leave_to_python(PyObject *way, PyObject *const *args, size_t count, PyObject *names) {
    return PyObject_Vectorcall(((Way *)way)->python, args, count, names);
}

static PyObject *way_get(PyObject *self, PyObject *object, PyObject *type) {
    return object == NULL || object == Py_None ? Py_NewRef(self) : PyMethod_New(self, object);
}

static PyObject *way_getattro(PyObject *self, PyObject *name) {
    static const char *const shown[] = {"__annotations__", "__class__",    "__closure__",    "__code__",
                                        "__defaults__",    "__globals__",  "__kwdefaults__", "__module__",
                                        "__name__",        "__qualname__", "__type_params__"};
    if (PyUnicode_Check(name))
        for (size_t place = 0; place < sizeof shown / sizeof *shown; place++)
            if (PyUnicode_CompareWithASCIIString(name, shown[place]) == 0)
                return PyObject_GetAttr(((Way *)self)->python, name);
    return PyObject_GenericGetAttr(self, name);
}

static PyObject *way_repr(PyObject *self) {
    return PyUnicode_FromFormat("<compiled before %R>", ((Way *)self)->python);
}

static int way_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Way *)self)->python);
    return 0;
}

/* It can be called for as long as it lives, so nothing clears it: a cycle through it goes through its class, too. */
static void way_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (((Way *)self)->weak_references != NULL) PyObject_ClearWeakRefs(self);
    Py_XDECREF(((Way *)self)->python);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Pickled as functions are: by its name. */
static PyObject *way_reduce(PyObject *self, PyObject *nothing) {
    return PyObject_GetAttrString(((Way *)self)->python, "__qualname__");
}

static PyMethodDef way_methods[] = {{"__reduce__", way_reduce, METH_NOARGS, NULL}, {NULL}};

/* `inspect` asks for it past `getattro`. */
static PyObject *way_doc(PyObject *self, void *closure) {
    return PyObject_GetAttrString(((Way *)self)->python, "__doc__");
}

static PyGetSetDef way_getset[] = {{"__doc__", way_doc, NULL, NULL, NULL}, {NULL}};

static PyMemberDef way_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Way, vectorcall), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Way, weak_references), READONLY, NULL},
    {"__wrapped__", T_OBJECT_EX, offsetof(Way, python), READONLY, NULL},
    {NULL},
};

static PyType_Slot way_slots[] = {
    {Py_tp_call, PyVectorcall_Call}, {Py_tp_descr_get, way_get},
    {Py_tp_getattro, way_getattro},  {Py_tp_repr, way_repr},
    {Py_tp_traverse, way_traverse},  {Py_tp_dealloc, way_dealloc},
    {Py_tp_methods, way_methods},    {Py_tp_members, way_members},
    {Py_tp_getset, way_getset},      {0, NULL},
};

/* Immutable and a method descriptor: so the interpreter calls it without binding it, as it does functions. */
static PyType_Spec way_spec = {
    .name = "msglog._compiled.compiled_method",
    .basicsize = sizeof(Way),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR
        | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = way_slots,
};

static PyObject *make_way(PyTypeObject *type, vectorcallfunc vectorcall, PyObject *python) {
    Way *way = (Way *)type->tp_alloc(type, 0);
    if (way == NULL) return NULL;
    way->vectorcall = vectorcall;
    way->python = Py_NewRef(python);
    return (PyObject *)way;
}

#endif
