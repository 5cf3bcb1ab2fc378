/* What the tasks of an event loop await, and their going on, in C.

   asyncio's own future has the loop call each task on its own. Here all who wait for a sync go on in one call: the
   tasks tell a future how they are to be called, and that is done without the loop. What a future is to a task, of
   which this is all that tasks ask for, is in the documentation of `asyncio.isfuture` and in the source of
   `asyncio.tasks`. Python has the same in looping.py with futures of asyncio.

   Imported by compiled.py. */

#include "_compiled.h"

typedef enum { PENDING, ENDED, CANCELLED } State;

/* What a task awaits. */
typedef struct {
    PyObject_HEAD
    PyObject *loop;
    PyObject *callback, *context; /* how the task is to be called, once it awaits it */
    PyObject *more;               /* whoever else wants to be called: a list of such pairs, as a rule none */
    PyObject *outcome;            /* once it has ended None or an error, once it was cancelled the message */
    PyObject *trace;              /* where the error came from */
    State state;
    char blocking, awaited;
} Wait;

static PyTypeObject *wait_type, *way_type;
static PyObject *text_call_soon, *names_of_call_soon;

/* new_wait(loop) */
static PyObject *new_wait(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    if (PyVectorcall_NARGS(flagged) != 1 || names != NULL) return leave_to_python(way, args, flagged, names);
    Wait *wait = (Wait *)wait_type->tp_alloc(wait_type, 0);
    if (wait != NULL) wait->loop = Py_NewRef(args[0]);
    return (PyObject *)wait;
}

/* Going on */

/* Have the loop make a call. */
static int call_soon(Wait *wait, PyObject *callback, PyObject *context) {
    PyObject *arguments[] = {wait->loop, callback, (PyObject *)wait, context};
    PyObject *handle = PyObject_VectorcallMethod(text_call_soon, arguments, 3, names_of_call_soon);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

/* Have the loop make each call that was asked for, in their order. */
static int call_each_soon(Wait *wait) {
    PyObject *callback = wait->callback, *context = wait->context, *more = wait->more;
    wait->callback = wait->context = wait->more = NULL;
    int called = callback == NULL ? 0 : call_soon(wait, callback, context);
    for (Py_ssize_t place = 0; called == 0 && more != NULL && place < PyList_GET_SIZE(more); place++) {
        PyObject *pair = PyList_GET_ITEM(more, place);
        called = call_soon(wait, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
    }
    Py_XDECREF(callback);
    Py_XDECREF(context);
    Py_XDECREF(more);
    return called;
}

/* Call the task, which runs up to its next await. */
static int call_now(Wait *wait) {
    if (wait->callback == NULL || wait->more != NULL) return call_each_soon(wait);
    PyObject *callback = wait->callback, *context = wait->context;
    if (PyContext_Enter(context) < 0) { /* somebody is in it: the loop sees who is when it gets there */
        PyErr_Clear();
        return call_each_soon(wait);
    }
    wait->callback = wait->context = NULL;
    PyObject *none = PyObject_CallOneArg(callback, (PyObject *)wait);
    Error error = {0};
    if (none == NULL) error = set_aside();
    int left = PyContext_Exit(context);
    if (none == NULL) PyErr_Restore(error.type, error.value, error.trace);
    Py_XDECREF(none);
    Py_DECREF(callback);
    Py_DECREF(context);
    return none == NULL ? -1 : left;
}

/* Return the place of the first who is still to be called, from a place on. */
static Py_ssize_t find_left(PyObject *waits, Py_ssize_t place) {
    for (; place < PyList_GET_SIZE(waits); place++) {
        Wait *wait = (Wait *)PyList_GET_ITEM(waits, place);
        if (wait->callback || wait->more) break;
    }
    return place;
}

/* Call the tasks. One may end the loop, or run it while it is called: so the loop is asked before to call those behind
   the first one, which does nothing if they have been called by then. */
static int call_all(PyObject *way, PyObject *waits, PyObject *error) {
    Py_ssize_t place = find_left(waits, 0);
    if (find_left(waits, place + 1) < PyList_GET_SIZE(waits)) {
        PyObject *arguments[] = {((Wait *)PyList_GET_ITEM(waits, place))->loop, way, waits, error};
        PyObject *handle = PyObject_VectorcallMethod(text_call_soon, arguments, 4, NULL);
        if (handle == NULL) return -1;
        Py_DECREF(handle);
    }
    for (; (place = find_left(waits, place)) < PyList_GET_SIZE(waits); place++) {
        Wait *wait = (Wait *)Py_NewRef(PyList_GET_ITEM(waits, place));
        int called = call_now(wait);
        Py_DECREF(wait);
        if (called < 0) return -1;
    }
    return 0;
}

/* end_waits(waits, error) */
static PyObject *end_waits(PyObject *way, PyObject *const *args, size_t flagged, PyObject *names) {
    if (PyVectorcall_NARGS(flagged) != 2 || names != NULL || !PyList_CheckExact(args[0])
        || !(args[1] == Py_None || PyExceptionInstance_Check(args[1])))
        return leave_to_python(way, args, flagged, names);
    PyObject *waits = args[0], *error = args[1];
    for (Py_ssize_t place = 0; place < PyList_GET_SIZE(waits); place++)
        if (!Py_IS_TYPE(PyList_GET_ITEM(waits, place), wait_type)) return leave_to_python(way, args, flagged, names);
    for (Py_ssize_t place = 0; place < PyList_GET_SIZE(waits); place++) {
        Wait *wait = (Wait *)PyList_GET_ITEM(waits, place);
        if (wait->state != PENDING) continue;
        wait->state = ENDED;
        Py_XSETREF(wait->outcome, Py_NewRef(error));
        if (error != Py_None) wait->trace = PyException_GetTraceback(error);
    }
    if (call_all(way, waits, error) < 0) return NULL;
    Py_RETURN_NONE;
}

/* What a task, and whoever else meets it, asks of it */

/* Raise an error of asyncio, with a message if there is one. */
static PyObject *raise_of_asyncio(const char *name, PyObject *message) {
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    PyObject *type = asyncio == NULL ? NULL : PyObject_GetAttrString(asyncio, name), *error = NULL;
    if (type != NULL) error = message == Py_None ? PyObject_CallNoArgs(type) : PyObject_CallOneArg(type, message);
    if (error != NULL) PyErr_SetObject(type, error);
    Py_XDECREF(asyncio);
    Py_XDECREF(type);
    Py_XDECREF(error);
    return NULL;
}

/* Return None or an error; raises when it was cancelled, or is still to come. */
static PyObject *wait_exception(PyObject *self, PyObject *nothing) {
    Wait *wait = (Wait *)self;
    if (wait->state == ENDED) return Py_NewRef(wait->outcome);
    return wait->state == PENDING ? raise_of_asyncio("InvalidStateError", Py_None)
                                  : raise_of_asyncio("CancelledError", wait->outcome);
}

/* The error is one for all: each raises it from where it came, not from where others heard of it. */
static PyObject *wait_result(PyObject *self, PyObject *nothing) {
    PyObject *error = wait_exception(self, NULL), *trace = ((Wait *)self)->trace;
    if (error == NULL || error == Py_None) return error;
    if (PyException_SetTraceback(error, trace == NULL ? Py_None : trace) == 0)
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
    return NULL;
}

/* The first time it gives itself to the task, the second time what came of it. */
static PySendResult wait_send(PyObject *self, PyObject *sent, PyObject **result) {
    Wait *wait = (Wait *)self;
    if (wait->state == PENDING && !wait->awaited) {
        wait->awaited = wait->blocking = 1;
        *result = Py_NewRef(self);
        return PYGEN_NEXT;
    }
    *result = NULL;
    if (wait->state == PENDING)
        PyErr_SetString(PyExc_RuntimeError, "whoever got this from `await` went on without waiting for it");
    else
        *result = wait_result(self, NULL);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

static PyObject *wait_next(PyObject *self) {
    PyObject *result;
    if (wait_send(self, Py_None, &result) == PYGEN_RETURN) Py_CLEAR(result); /* it stops with None */
    return result;
}

static PyObject *wait_get_loop(PyObject *self, PyObject *nothing) {
    return Py_NewRef(((Wait *)self)->loop);
}

static PyObject *wait_done(PyObject *self, PyObject *nothing) {
    return PyBool_FromLong(((Wait *)self)->state != PENDING);
}

static PyObject *wait_cancelled(PyObject *self, PyObject *nothing) {
    return PyBool_FromLong(((Wait *)self)->state == CANCELLED);
}

/* Note a further call. */
static int add_to_more(Wait *wait, PyObject *callback, PyObject *context) {
    if (wait->more == NULL && (wait->more = PyList_New(0)) == NULL) return -1;
    PyObject *pair = PyTuple_Pack(2, callback, context);
    int added = pair == NULL ? -1 : PyList_Append(wait->more, pair);
    Py_XDECREF(pair);
    return added;
}

/* add_done_callback(callback, *, context=None) */
static PyObject *wait_add(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    Wait *wait = (Wait *)self;
    PyObject *named = names == NULL || PyTuple_GET_SIZE(names) == 0 ? NULL : PyTuple_GET_ITEM(names, 0);
    if (count != 1 || (named != NULL && PyTuple_GET_SIZE(names) != 1)
        || (named != NULL && PyUnicode_CompareWithASCIIString(named, "context") != 0)) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback() takes a callback and, by its name, a context");
        return NULL;
    }
    PyObject *context = named == NULL || args[1] == Py_None ? PyContext_CopyCurrent() : Py_NewRef(args[1]);
    if (context == NULL) return NULL;
    int added = 0;
    if (wait->state != PENDING)
        added = call_soon(wait, args[0], context);
    else if (wait->callback != NULL || wait->more != NULL)
        added = add_to_more(wait, args[0], context);
    else {
        wait->callback = Py_NewRef(args[0]);
        wait->context = Py_NewRef(context);
    }
    Py_DECREF(context);
    if (added < 0) return NULL;
    Py_RETURN_NONE;
}

/* remove_done_callback(callback): return how many there were. Comparing may run other code: all is held meanwhile. */
static PyObject *wait_remove(PyObject *self, PyObject *callback) {
    Wait *wait = (Wait *)self;
    PyObject *own = Py_XNewRef(wait->callback), *more = Py_XNewRef(wait->more);
    int same = own == NULL ? 0 : PyObject_RichCompareBool(own, callback, Py_EQ);
    long removed = same;
    if (same > 0 && wait->callback == own) {
        Py_CLEAR(wait->callback);
        Py_CLEAR(wait->context);
    }
    Py_XDECREF(own);
    for (Py_ssize_t place = 0; same >= 0 && more != NULL && place < PyList_GET_SIZE(more); place += same == 0) {
        PyObject *pair = Py_NewRef(PyList_GET_ITEM(more, place));
        same = PyObject_RichCompareBool(PyTuple_GET_ITEM(pair, 0), callback, Py_EQ);
        if (same > 0 && PyList_SetSlice(more, place, place + 1, NULL) < 0) same = -1;
        removed += same > 0;
        Py_DECREF(pair);
    }
    Py_XDECREF(more);
    return same < 0 ? NULL : PyLong_FromLong(removed);
}

/* cancel(msg=None): the wait ends, not what is waited for; the task is called with the error. */
static PyObject *wait_cancel(PyObject *self, PyObject *args, PyObject *named) {
    static char *names[] = {"msg", NULL};
    Wait *wait = (Wait *)self;
    PyObject *message = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, named, "|O", names, &message)) return NULL;
    if (wait->state != PENDING) Py_RETURN_FALSE;
    wait->state = CANCELLED;
    Py_XSETREF(wait->outcome, Py_NewRef(message));
    if (call_each_soon(wait) < 0) return NULL;
    Py_RETURN_TRUE;
}

static int wait_traverse(PyObject *self, visitproc visit, void *arg) {
    Wait *wait = (Wait *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(wait->loop);
    Py_VISIT(wait->callback);
    Py_VISIT(wait->context);
    Py_VISIT(wait->more);
    Py_VISIT(wait->outcome);
    Py_VISIT(wait->trace);
    return 0;
}

/* It can be asked as long as it lives, so the loop stays, which does not hold it, and there is an outcome. */
static int wait_clear(PyObject *self) {
    Wait *wait = (Wait *)self;
    Py_CLEAR(wait->callback);
    Py_CLEAR(wait->context);
    Py_CLEAR(wait->more);
    Py_CLEAR(wait->trace);
    if (wait->outcome != NULL) Py_SETREF(wait->outcome, Py_NewRef(Py_None));
    return 0;
}

static void wait_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    wait_clear(self);
    Py_XDECREF(((Wait *)self)->loop);
    Py_XDECREF(((Wait *)self)->outcome);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef wait_methods[] = {
    {"add_done_callback", (PyCFunction)(void (*)(void))wait_add, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"cancel", (PyCFunction)(void (*)(void))wait_cancel, METH_VARARGS | METH_KEYWORDS, NULL},
    {"cancelled", wait_cancelled, METH_NOARGS, NULL},
    {"done", wait_done, METH_NOARGS, NULL},
    {"exception", wait_exception, METH_NOARGS, NULL},
    {"get_loop", wait_get_loop, METH_NOARGS, NULL},
    {"remove_done_callback", wait_remove, METH_O, NULL},
    {"result", wait_result, METH_NOARGS, NULL},
    {NULL},
};

/* Its presence tells asyncio that this is a future, its truth that it was given by `await`. */
static PyMemberDef wait_members[] = {{"_asyncio_future_blocking", T_BOOL, offsetof(Wait, blocking), 0, NULL}, {NULL}};

static PyType_Slot wait_slots[] = {
    {Py_am_await, PyObject_SelfIter}, {Py_am_send, wait_send},
    {Py_tp_iter, PyObject_SelfIter},  {Py_tp_iternext, wait_next},
    {Py_tp_methods, wait_methods},    {Py_tp_members, wait_members},
    {Py_tp_clear, wait_clear},        {Py_tp_traverse, wait_traverse},
    {Py_tp_dealloc, wait_dealloc},    {0, NULL},
};

static PyType_Spec wait_spec = {
    .name = "msglog.transactions._compiled_looping.Wait",
    .basicsize = sizeof(Wait),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = wait_slots,
};

/* The module */

static PyObject *before_new_wait(PyObject *module, PyObject *function) {
    return make_way(way_type, new_wait, function);
}

static PyObject *before_end_waits(PyObject *module, PyObject *function) {
    return make_way(way_type, end_waits, function);
}

static PyMethodDef functions[] = {
    {"before_new_wait", before_new_wait, METH_O, NULL},
    {"before_end_waits", before_end_waits, METH_O, NULL},
    {NULL},
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_compiled_looping", .m_size = -1,
                             .m_methods = functions};

PyMODINIT_FUNC PyInit__compiled_looping(void) {
    text_call_soon = PyUnicode_InternFromString("call_soon");
    names_of_call_soon = Py_BuildValue("(s)", "context");
    way_type = (PyTypeObject *)PyType_FromSpec(&way_spec);
    wait_type = (PyTypeObject *)PyType_FromSpec(&wait_spec);
    PyObject *made = PyModule_Create(&module);
    if (!text_call_soon || !names_of_call_soon || !way_type || !wait_type || !made
        || PyModule_AddIntConstant(made, "SOURCE_CRC", SOURCE_CRC) < 0)
        Py_CLEAR(made);
    return made;
}
