// General categories come from utf8proc's two-stage table, White_Space from the Unicode list.
#include "text/unicode.h"

#include <utf8proc.h>

#include <array>

namespace serval {
namespace {

constexpr std::array<CharMask, 30> kCategoryMasks = {
    kOther,                                                         // Cn
    kUpper,      kLower,        kTitle,       kModifier, kUncased,  // Lu Ll Lt Lm Lo
    kMark,       kMark,         kMark,                              // Mn Mc Me
    kDigit,      kLetterNumber, kOtherNumber,                       // Nd Nl No
    kPunct,      kPunct,        kPunct,       kPunct,               // Pc Pd Ps Pe
    kPunct,      kPunct,        kPunct,                             // Pi Pf Po
    kSymbol,     kSymbol,       kSymbol,      kSymbol,              // Sm Sc Sk So
    kOtherSpace, kOtherSpace,   kOtherSpace,           // Zs Zl Zp: all of them White_Space
    kOther,      kOther,        kOther,       kOther,  // Cc Cf Cs Co
};
static_assert(UTF8PROC_CATEGORY_LU == 1 && UTF8PROC_CATEGORY_MN == 6 && UTF8PROC_CATEGORY_ND == 9 &&
              UTF8PROC_CATEGORY_PC == 12 && UTF8PROC_CATEGORY_SM == 19 &&
              UTF8PROC_CATEGORY_ZS == 23 && UTF8PROC_CATEGORY_CO == 29);

constexpr CharMask kCc = kOther, kHt = kOtherSpace, kNl = kNewline, kSp = kBlank;
constexpr CharMask kP = kPunct, kS = kSymbol, kN = kDigit, kU = kUpper, kL = kLower;

}  // namespace

const CharMask kAsciiMasks[128] = {
    kCc, kCc, kCc, kCc, kCc, kCc, kCc, kCc, kCc, kHt, kNl, kHt, kHt, kNl, kCc, kCc,  // 00
    kCc, kCc, kCc, kCc, kCc, kCc, kCc, kCc, kCc, kCc, kCc, kCc, kCc, kCc, kCc, kCc,  // 10
    kSp, kP,  kP,  kP,  kS,  kP,  kP,  kP,  kP,  kP,  kP,  kS,  kP,  kP,  kP,  kP,   // 20
    kN,  kN,  kN,  kN,  kN,  kN,  kN,  kN,  kN,  kN,  kP,  kP,  kS,  kS,  kS,  kP,   // 30
    kP,  kU,  kU,  kU,  kU,  kU,  kU,  kU,  kU,  kU,  kU,  kU,  kU,  kU,  kU,  kU,   // 40
    kU,  kU,  kU,  kU,  kU,  kU,  kU,  kU,  kU,  kU,  kU,  kP,  kP,  kP,  kS,  kP,   // 50
    kS,  kL,  kL,  kL,  kL,  kL,  kL,  kL,  kL,  kL,  kL,  kL,  kL,  kL,  kL,  kL,   // 60
    kL,  kL,  kL,  kL,  kL,  kL,  kL,  kL,  kL,  kL,  kL,  kP,  kS,  kP,  kS,  kCc,  // 70
};

CharMask char_mask(uint32_t code) {
  if (code < 0x80) return kAsciiMasks[code];
  if (code == 0x85) return kOtherSpace;  // the one Cc above ASCII with White_Space
  const auto category = static_cast<size_t>(utf8proc_category(static_cast<int32_t>(code)));
  return category < kCategoryMasks.size() ? kCategoryMasks[category] : kOther;
}

}  // namespace serval
