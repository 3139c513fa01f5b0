"""scikit-learn's callbacks (progress bars, early stops), where the installed version has them: 1.9 and later."""

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:
        """Without `set_callbacks`: this scikit-learn does not know them."""

    def with_callbacks(method):
        """The method as it is."""
        return method


class StoppedByCallback(KeyboardInterrupt):
    """A callback asks the fit to stop: an interruption, after which the best so far is kept."""


class Watch:
    """Tells an estimator's callbacks of every step of its fit.

    Parameters
    ----------
    estimator : NeuLVM
    X : as given to `fit`
    """

    def __init__(self, estimator, X):
        self.estimator, self.X, self.stopped = estimator, X, False
        self.context = None
        if getattr(estimator, "_skl_callbacks", None):
            # how many steps there will be depends on when the likelihood levels off
            self.context = estimator._init_callback_context(max_subtasks=None)
            self.context.call_on_fit_task_begin(estimator=estimator, X=X)

    def __call__(self):
        """After a start or an iteration; raises `StoppedByCallback` if a callback wants no more of them."""
        if self.context is None:
            return
        step = self.context.subcontext(task_name="step")
        step.call_on_fit_task_begin(estimator=self.estimator, X=self.X)
        if step.call_on_fit_task_end(estimator=self.estimator, X=self.X):
            self.stopped = True
            raise StoppedByCallback

    def end(self):
        """The fit is over."""
        if self.context is not None:
            self.context.call_on_fit_task_end(estimator=self.estimator, X=self.X)
