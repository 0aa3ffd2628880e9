/* The Python face of the kernel: `fill` checks everything and then writes; the rest are small
 * services. */
#if defined(__linux__)
#define _DEFAULT_SOURCE /* madvise */
#include <sys/mman.h>
#endif

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "isa.h"

enum { KEEP_GIL_BELOW = 4096 }; /* values: less work than a switch of threads */

/* The instances that run here, best first, and the one in use. */
static const Isa *usable, *isa;

/* ---- arguments --------------------------------------------------------------------------- */

typedef struct {
    PyObject *view;
    int stack_axes, out_axes;
    int64_t origin[COORDINATES], box[2 * COORDINATES];
    Py_buffer table;
} Arguments;

static int refuse(const char *message)
{
    PyErr_SetString(PyExc_ValueError, message);
    return 0;
}

/* TypeError for what is no integer, ValueError for what is out of range. */
static int integer(PyObject *given, int64_t low, int64_t high, int64_t *to)
{
    *to = PyLong_AsLongLong(given);
    if (*to == -1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return 0;
        PyErr_Clear();
        return refuse("integer out of range");
    }
    return *to >= low && *to <= high ? 1 : refuse("integer out of range");
}

static int convert_u32(PyObject *given, void *to)
{
    int64_t value;
    if (!integer(given, 0, UINT32_MAX, &value))
        return 0;
    *(uint32_t *)to = (uint32_t)value;
    return 1;
}

static int convert_i32(PyObject *given, void *to)
{
    int64_t value;
    if (!integer(given, INT32_MIN, INT32_MAX, &value))
        return 0;
    *(int32_t *)to = (int32_t)value;
    return 1;
}

static int integers(PyObject *given, int count, int64_t *to, const char *message)
{
    if (!PyTuple_Check(given) || PyTuple_Size(given) != count) {
        PyErr_SetString(PyExc_TypeError, message);
        return 0;
    }
    for (int k = 0; k < count; k++)
        if (!integer(PyTuple_GetItem(given, k), 0, INT64_MAX, &to[k]))
            return 0;
    return 1;
}

static int convert_origin(PyObject *given, void *to)
{
    return integers(given, COORDINATES, to, "origin must be a tuple (s, o, j)");
}

static int convert_box(PyObject *given, void *to)
{
    return integers(given, 2 * COORDINATES, to, "box must be a tuple (s0, s1, o0, o1, j0, j1)");
}

static int parse(PyObject *args, Arguments *a, Job *job)
{
    return PyArg_ParseTuple(
        args, "OO&O&O&O&O&O&O&O&dO&O&O&y*O&O&:fill", &a->view, convert_i32, &a->stack_axes,
        convert_i32, &a->out_axes, convert_i32, &job->dtype, convert_u32, &job->key0, convert_u32,
        &job->key1, convert_i32, &job->kind, convert_u32, &job->lo, convert_u32, &job->width,
        &job->factor, convert_i32, &job->offset, convert_u32, &job->multiplier, convert_u32,
        &job->purpose, &a->table, convert_origin, a->origin, convert_box, a->box);
}

static int check_draw(const Arguments *a, Job *job)
{
    if (job->dtype < FLOAT32 || job->dtype > UINT32)
        return refuse("dtype must be 0, 1, 2, 3 or 4");
    if (job->kind < UNIFORM || job->kind > WORDS)
        return refuse("kind must be 0, 1, 2 or 3");
    if ((job->kind == WORDS) != (job->dtype == UINT32))
        return refuse("kind 3, words, goes with dtype 4, unsigned integers, alone");
    if ((uint64_t)job->lo + job->width > (uint64_t)UINT32_MAX + 1)
        return refuse("lo + width must be at most 2**32");
    if (!isfinite(job->factor) || (job->dtype != FLOAT64 && fabs(job->factor) > FLT_MAX))
        return refuse("factor must be finite in the precision of the draw");
    if (a->table.len != TABLE_BYTES)
        return refuse("table must hold 4096 numbers of 64 bits");
    job->table = a->table.buf;
    return 1;
}

static int check_format(const Py_buffer *view, int dtype)
{
    static const char *const codes[] = {"f", "d", "H", "eH", "IL"};
    static const Py_ssize_t sizes[] = {4, 8, 2, 2, 4};
    const uint16_t one = 1;
    const char native = *(const unsigned char *)&one ? '<' : '>', *format = view->format;
    if (format && (*format == '@' || *format == '=' || *format == native))
        format++;
    if (!format || view->itemsize != sizes[dtype] || !*format || format[1] ||
        !strchr(codes[dtype], *format))
        return refuse("format of the view does not match dtype");
    return 1;
}

/* Axes [first, last) become one coordinate; neighbours that lie as one in memory are joined. */
static int gather(const Py_buffer *view, int first, int last, int64_t limit, Coordinate *c)
{
    c->extent = 1;
    c->count = 0;
    for (int k = first; k < last; k++)
        if (view->shape[k] == 0)
            c->extent = 0;
    for (int k = first; k < last && c->extent; k++) {
        const int64_t size = view->shape[k];
        const ptrdiff_t stride = view->strides[k];
        if (size > limit / c->extent)
            return refuse("view has more indices than a coordinate can count");
        c->extent *= size;
        Axis *outer = c->count ? &c->axes[c->count - 1] : NULL;
        if (outer && outer->stride == size * stride)
            *outer = (Axis){outer->size * size, stride};
        else if (size != 1)
            c->axes[c->count++] = (Axis){size, stride};
    }
    if (c->count == 0)
        c->axes[c->count++] = (Axis){1, 0};
    return 1;
}

static int check_box(int64_t origin, const int64_t *box, int64_t limit, Coordinate *c)
{
    if (origin > limit - c->extent)
        return refuse("origin and view reach beyond what a coordinate can count");
    c->origin = origin;
    c->begin = box[0];
    c->end = box[1];
    return c->begin <= c->end && c->end <= c->extent ? 1 : refuse("box reaches beyond the view");
}

static int check_view(const Arguments *a, const Py_buffer *view, Job *job)
{
    const int64_t words = (int64_t)1 << 32;
    const int ndim = view->ndim, first = a->stack_axes, second = a->out_axes;
    if (ndim > MAX_AXES || first < 0 || second < 0 || first > ndim || second > ndim - first)
        return refuse("stack_axes and out_axes must be axes of the view");
    if (a->origin[IN] % LANES || a->box[2 * IN] % LANES)
        return refuse("origin and box must start at multiples of 4 along j");
    job->data = view->buf;
    return check_format(view, job->dtype) &&
           gather(view, 0, first, words, &job->at[STACK]) &&
           gather(view, first, first + second, words, &job->at[OUT]) &&
           gather(view, first + second, ndim, LANES * words, &job->at[IN]) &&
           check_box(a->origin[STACK], a->box + 2 * STACK, words, &job->at[STACK]) &&
           check_box(a->origin[OUT], a->box + 2 * OUT, words, &job->at[OUT]) &&
           check_box(a->origin[IN], a->box + 2 * IN, LANES * words, &job->at[IN]);
}

static void run(const Job *job)
{
    const Isa *const instance = isa; /* another thread may choose another one meanwhile */
    int64_t values = 1;
    for (int which = STACK; which < COORDINATES; which++) {
        const int64_t size = job->at[which].end - job->at[which].begin;
        values *= size < KEEP_GIL_BELOW ? size : KEEP_GIL_BELOW;
    }
    if (values == 0)
        return;
    if (values < KEEP_GIL_BELOW) {
        instance->fill(job);
        return;
    }
    Py_BEGIN_ALLOW_THREADS
    instance->fill(job);
    Py_END_ALLOW_THREADS
}

static PyObject *fill(PyObject *Py_UNUSED(module), PyObject *args)
{
    Arguments a;
    Job job;
    Py_buffer view;
    int done = 0;
    if (!parse(args, &a, &job))
        return NULL;
    if (PyObject_GetBuffer(a.view, &view, PyBUF_STRIDES | PyBUF_WRITABLE | PyBUF_FORMAT) == 0) {
        done = check_draw(&a, &job) && check_view(&a, &view, &job);
        if (done)
            run(&job);
        PyBuffer_Release(&view);
    } else if (PyErr_ExceptionMatches(PyExc_BufferError)) {
        refuse("view must be a writable buffer");
    }
    PyBuffer_Release(&a.table);
    return done ? Py_NewRef(Py_None) : NULL;
}

static PyObject *use(PyObject *Py_UNUSED(module), PyObject *name)
{
    const char *wanted = PyUnicode_AsUTF8AndSize(name, NULL);
    if (!wanted)
        return NULL;
    for (const Isa *each = usable; each->name; each++)
        if (strcmp(each->name, wanted) == 0) {
            isa = each;
            return Py_NewRef(Py_None);
        }
    refuse("no such instruction set here: see ISAS");
    return NULL;
}

/* Fresh memory costs more than the draw that fills it: the system clears it page by page, at the
 * first touch. With pages of 2 MiB there are few of them. Only advice, so failure is no error. */
static PyObject *prefer_huge_pages(PyObject *Py_UNUSED(module), PyObject *memory)
{
#if defined(MADV_HUGEPAGE)
    const uintptr_t page = (uintptr_t)1 << 21;
    Py_buffer view;
    if (PyObject_GetBuffer(memory, &view, PyBUF_SIMPLE | PyBUF_WRITABLE) < 0)
        return NULL;
    const uintptr_t begin = ((uintptr_t)view.buf + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)view.buf + (uintptr_t)view.len) / page * page;
    if (end > begin)
        (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
    PyBuffer_Release(&view);
#else
    (void)memory;
#endif
    return Py_NewRef(Py_None);
}

#if !defined(_WIN32)
static PyObject *environment(PyObject *Py_UNUSED(module), PyObject *name)
{
    const char *const wanted = PyUnicode_AsUTF8AndSize(name, NULL);
    if (!wanted)
        return NULL;
    const char *const found = getenv(wanted);
    return found ? PyUnicode_DecodeFSDefault(found) : Py_NewRef(Py_None);
}
#endif

/* ISAS: the names of the instruction sets that run here, best first; the best is in use. */
static int add_names(PyObject *module)
{
    Py_ssize_t count = 0;
    isa = usable = isa_usable();
    while (usable[count].name)
        count++;
    PyObject *names = PyTuple_New(count);
    for (Py_ssize_t k = 0; names && k < count; k++)
        if (PyTuple_SetItem(names, k, PyUnicode_FromString(usable[k].name)) < 0)
            Py_CLEAR(names);
    const int failed = names ? PyModule_AddObjectRef(module, "ISAS", names) : -1;
    Py_XDECREF(names);
    return failed;
}

static PyMethodDef methods[] = {
    {"fill", fill, METH_VARARGS,
     "fill(view, stack_axes, out_axes, dtype, key0, key1, kind, lo, width, factor, offset,\n"
     "     multiplier, purpose, table, origin, box)\n--\n\n"
     "Write the values of a box of coordinates into a strided buffer in canonical axis order."},
    {"prefer_huge_pages", prefer_huge_pages, METH_O,
     "prefer_huge_pages(memory)\n--\n\nAdvice for memory that nobody has written to yet."},
    {"use", use, METH_O, "use(isa)\n--\n\nChoose one of ISAS."},
#if !defined(_WIN32)
    {"getenv", environment, METH_O, "getenv(name)\n--\n\nA variable of the environment, or None."},
#endif
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, add_names}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_kernel", .m_methods = methods, .m_slots = slots};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModuleDef_Init(&definition); }
