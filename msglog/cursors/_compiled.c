/* `Cursor.settle` in C: the oldest delivery is settled, and nothing was out of order.

   It leaves what the Python method leaves, which stands in cursor.py and says why. Everything else is left to that
   one, before anything was changed; what can fail comes first.

   Imported by compiled.py. */

#include "_compiled.h"

static PyTypeObject *way_type, *cursor_type, *ranges_type;
static struct {
    Py_ssize_t deliveries, done, next, noted_next, settled, unsettled;
} cursor_slot;
static struct {
    Py_ssize_t spans;
} ranges_slot;

#define FIND(class, name) find_slot(class##_type, #name, &class##_slot.name)

/* Whether nothing was settled out of order. */
static int nothing_done(PyObject *cursor) {
    if (!holds(cursor, cursor_slot.done, ranges_type)) return 0;
    PyObject *done = SLOT(cursor, cursor_slot.done);
    if (!holds(done, ranges_slot.spans, &PyTuple_Type)) return 0;
    PyObject *spans = SLOT(done, ranges_slot.spans);
    return PyTuple_GET_SIZE(spans) == 3 && number_of(PyTuple_GET_ITEM(spans, 2)) == 0;
}

/* settle(cursor, first, end) */
static PyObject *settle(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    if (PyVectorcall_NARGS(flagged) != 3 || names != NULL || !Py_IS_TYPE(args[0], cursor_type))
        return leave_to_python(way, args, flagged, names);
    PyObject *cursor = args[0];
    long long first = number_of(args[1]), end = number_of(args[2]);
    if (first < 0 || end != first + 1 || first != number_in(cursor, cursor_slot.settled) || !nothing_done(cursor)
        || !holds(cursor, cursor_slot.deliveries, &PyDict_Type)
        || PyDict_GET_SIZE(SLOT(cursor, cursor_slot.deliveries)) != 0
        || !holds(cursor, cursor_slot.unsettled, &PyDict_Type) || SLOT(cursor, cursor_slot.next) == NULL)
        return leave_to_python(way, args, flagged, names);
    PyObject *unsettled = SLOT(cursor, cursor_slot.unsettled);
    PyObject *holder = PyDict_GetItemWithError(unsettled, args[1]);
    if (holder == NULL && PyErr_Occurred()) return NULL;
    if (holder == NULL || holder == Py_None) return leave_to_python(way, args, flagged, names);
    Py_INCREF(holder); /* giving it up may run other code */
    if (PyDict_DelItem(unsettled, args[1]) < 0) {
        Py_DECREF(holder);
        return NULL;
    }
    set_slot(cursor, cursor_slot.settled, args[2]);
    set_slot(cursor, cursor_slot.noted_next, SLOT(cursor, cursor_slot.next));
    Py_DECREF(holder);
    Py_RETURN_NONE;
}

/* before_settle(method, cursor's class, ranges' class) */
static PyObject *before_settle(PyObject *module, PyObject *args) {
    PyObject *method, *cursor, *ranges;
    if (!PyArg_ParseTuple(args, "OO!O!", &method, &PyType_Type, &cursor, &PyType_Type, &ranges)) return NULL;
    Py_XSETREF(cursor_type, (PyTypeObject *)Py_NewRef(cursor));
    Py_XSETREF(ranges_type, (PyTypeObject *)Py_NewRef(ranges));
    if (FIND(cursor, deliveries) || FIND(cursor, done) || FIND(cursor, next) || FIND(cursor, noted_next)
        || FIND(cursor, settled) || FIND(cursor, unsettled) || FIND(ranges, spans))
        return NULL;
    return make_way(way_type, settle, method);
}

static PyMethodDef functions[] = {{"before_settle", before_settle, METH_VARARGS, NULL}, {NULL}};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_compiled", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit__compiled(void) {
    way_type = (PyTypeObject *)PyType_FromSpec(&way_spec);
    PyObject *made = PyModule_Create(&module);
    if (!way_type || !made || PyModule_AddIntConstant(made, "SOURCE_CRC", SOURCE_CRC) < 0) Py_CLEAR(made);
    return made;
}
